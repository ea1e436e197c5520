"""The latency scorer: by headroom where there are predictions, else by a mean of three parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.attributes import LatencyPrediction, latency, prefix_match
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.scorers.latency import Latency
from tests.fakes.plugins import configured
from tests.fakes.pool import candidates_of, request_with, table_of

NAN = float("nan")
MOST = {"headroomSelectionStrategy": "most"}


def built(table: EndpointTable, parameters: Any = None) -> Latency:
    return configured(Latency, table, parameters)


def predict(
    table: EndpointTable, request: Request, ttft: Sequence[float], tpot: Sequence[float], name: str = ""
) -> None:
    columns = []
    for values in (ttft, tpot):
        column = np.full(table.capacity, NAN)
        column[: len(values)] = values
        columns.append(column)
    key = latency(name) if name else latency()
    request.attributes.write(key, LatencyPrediction(-columns[0], -columns[1], *columns))


def scores(
    ttft: Sequence[float],
    tpot: Sequence[float],
    parameters: Any = None,
    busy: Sequence[int] = (),
) -> list[float]:
    table = table_of([Gauges()] * len(ttft))
    table.in_flight[list(busy)] = 1
    request = request_with(table)
    predict(table, request, ttft, tpot)
    found: list[float] = built(table, parameters).score(request, candidates_of(table)).tolist()
    return found


@pytest.mark.parametrize(
    ("ttft", "tpot", "parameters", "expected"),
    [
        # nTTFT = 0, 0.5, 1; nTPOT = 1, 0.5, 0; c = 0.8 nTTFT + 0.2 nTPOT = 0.2, 0.5, 0.8
        # least: (int(100 (1 - c)) + 1) / 100; most: (int(100 c) + 1) / 100
        ([10, 20, 30], [5, 4, 3], None, [0.81, 0.51, 0.21]),
        ([10, 20, 30], [5, 4, 3], MOST, [0.21, 0.51, 0.81]),
        # Weights 3 and 1: c = 0.25, 0.5, 0.75
        ([10, 20, 30], [5, 4, 3], {"ttftWeight": 3, "tpotWeight": 1}, [0.76, 0.51, 0.26]),
        # No weight at all: TTFT only, c = 0, 0.5, 1; the best would be 1.01
        ([10, 20, 30], [5, 4, 3], {"ttftWeight": 0, "tpotWeight": 0}, [1.0, 0.51, 0.01]),
        # TTFT is equal: only TPOT counts, c = 0, 1
        ([10, 10], [0, 4], None, [1.0, 0.01]),
        # TPOT is equal: only TTFT counts, c = 0, 1/3, 1; int(66.67) + 1 = 67
        ([0, 10, 30], [4, 4, 4], None, [1.0, 0.67, 0.01]),
        # Both are equal: c = 0.5
        ([7, 7], [4, 4], None, [0.51, 0.51]),
        ([7], [4], MOST, [0.51]),
        # Whoever misses an objective gets 0, also in the normalisation: c = 0, 1
        ([10, 30, -5], [1, 1, 1], None, [1.0, 0.01, 0.0]),
        ([10, 30, 90], [1, 1, -1], None, [1.0, 0.01, 0.0]),
        # No prediction: as with a headroom of 0; n = 0.5, 1, 0 in both
        ([10, 20, NAN], [1, 2, NAN], None, [0.51, 0.01, 1.0]),
    ],
)
def test_headroom(
    ttft: Sequence[float], tpot: Sequence[float], parameters: Any, expected: list[float]
) -> None:
    assert scores(ttft, tpot, parameters) == expected


@pytest.mark.parametrize("parameters", [None, MOST])
@pytest.mark.parametrize(
    ("ttft", "tpot", "busy", "expected"),
    [
        # Idle ones before all: rows 1 and 2, |h| = 20 and 10; TPOT is equal, so c = 1 and 0
        ([-1, -20, -10], [9, -3, -3], [0], [0.0, 0.01, 1.0]),
        # Nobody is idle: first those that miss TPOT only (row 1), which is alone: c = 0.5
        ([-1, 20, -10], [9, -3, -3], [0, 1, 2], [0.0, 0.51, 0.0]),
        # Then those that miss TTFT only: |h| = 1 and 3, TPOT equal
        ([-1, -3, -10], [9, 9, -3], [0, 1, 2], [1.0, 0.01, 0.0]),
        # Both missed: n = 0, 1 in both
        ([-1, -3], [-1, -2], [0, 1], [1.0, 0.01]),
    ],
)
def test_when_all_are_late_the_least_late_of_the_best_kind_is_scored(
    ttft: Sequence[float], tpot: Sequence[float], busy: list[int], expected: list[float], parameters: Any
) -> None:
    assert scores(ttft, tpot, parameters, busy) == expected


GAUGES = [
    Gauges(waiting=0, running=0, kv_usage=0.5),
    Gauges(waiting=3, running=0, kv_usage=0.2),
    Gauges(waiting=4, running=0, kv_usage=0.0),
]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        # free = 0.5, 0.8, 1; queue = (4 - q) / 4 = 1, 0.25, 0; prefix = 0, 0.5, 0.1
        # mean = 1.5 / 3, 1.55 / 3 = 0.5167, 1.1 / 3 = 0.3667
        (None, [0.5, 0.52, 0.37]),
        ({"compositeKVWeight": 2, "compositeQueueWeight": 1, "compositePrefixWeight": 1}, [0.5, 0.59, 0.53]),
        ({"compositeKVWeight": 0, "compositeQueueWeight": 1, "compositePrefixWeight": 0}, [1.0, 0.25, 0.0]),
        ({"compositeKVWeight": 0, "compositeQueueWeight": 0, "compositePrefixWeight": 1}, [0.0, 0.5, 0.1]),
        # No weights: the free cache alone
        ({"compositeKVWeight": 0, "compositeQueueWeight": 0, "compositePrefixWeight": 0}, [0.5, 0.8, 1.0]),
    ],
)
def test_without_predictions_three_parts_are_weighed(parameters: Any, expected: list[float]) -> None:
    table = table_of(GAUGES)
    request = request_with(table, match=[0, 5, 1], total=10)
    scorer = built(table, parameters)
    assert scorer.score(request, candidates_of(table)).tolist() == expected
    predict(table, request, [NAN] * 3, [NAN] * 3)
    assert scorer.score(request, candidates_of(table)).tolist() == expected


def test_nobody_waits_and_nothing_is_cached() -> None:
    table = table_of([Gauges(waiting=0, kv_usage=0.4), Gauges(waiting=0, kv_usage=0.7)])
    # (0.6 + 1 + 0) / 3 = 0.5333, (0.3 + 1 + 0) / 3 = 0.4333
    assert built(table).score(request_with(table), candidates_of(table)).tolist() == [0.53, 0.43]


def test_stale_telemetry_is_replaced_as_everywhere() -> None:
    table = table_of([Gauges(waiting=4, kv_usage=0.4), Gauges(waiting=0, kv_usage=0.0)])
    table.updated_at[1] = -np.inf
    table.in_flight[1] = 2
    # Unseen and with 2 in flight: a queue of max(3, 4) = 4, a cache half full.
    # (0.6 + 0 + 0) / 3 = 0.2, (0.5 + 0 + 0) / 3 = 0.1667
    assert built(table).score(request_with(table), candidates_of(table)).tolist() == [0.2, 0.17]


def test_facts_are_those_of_the_named_producers_and_the_prediction_is_optional() -> None:
    table = table_of([Gauges()] * 2)
    names = {"latencyPredictionInfoProducerName": "p", "prefixMatchInfoProducerName": "x"}
    scorer = built(table, names)
    assert (list(scorer.reads()), list(scorer.requires())) == ([latency("p")], [prefix_match("x")])
    request = request_with(table)
    predict(table, request, [0, 1], [0, 1], name="p")
    assert scorer.score(request, candidates_of(table)).tolist() == [1.0, 0.01]
    assert list(built(table).reads()) == [latency()]


def test_it_tells_once_that_nothing_is_predicted(caplog: pytest.LogCaptureFixture) -> None:
    built(table_of([Gauges()]))
    (record,) = caplog.records
    assert "nothing predicts latencies in this version" in record.getMessage()


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        *(
            ({key: -1}, f"{key} is -1.0; write a number from 0 up")
            for key in (
                "ttftWeight",
                "tpotWeight",
                "compositeKVWeight",
                "compositeQueueWeight",
                "compositePrefixWeight",
            )
        ),
        ({"headroomSelectionStrategy": "best"}, "headroomSelectionStrategy"),
        ({"compositeKvWeight": 1}, 'did you mean "compositeKVWeight"?'),
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(table_of([Gauges()]), parameters)
    assert part in str(caught.value)


HEADROOM = st.integers(-50, 50).map(float)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(HEADROOM, HEADROOM), min_size=1, max_size=6), st.booleans())
def test_somebody_scores_and_nobody_out_of_bounds(pairs: list[tuple[float, float]], most: bool) -> None:
    found = scores([a for a, _ in pairs], [b for _, b in pairs], MOST if most else None)
    assert max(found) > 0.0
    assert all(0.0 <= score <= 1.0 for score in found)
    # Whoever meets both objectives never loses to one that does not.
    good = [score for score, (a, b) in zip(found, pairs, strict=True) if a >= 0 and b >= 0]
    bad = [score for score, (a, b) in zip(found, pairs, strict=True) if a < 0 or b < 0]
    assert not good or max(bad, default=0.0) == 0.0
