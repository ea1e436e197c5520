"""The affinity filter: when it sticks, and when it lets go."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.attributes import LatencyPrediction, in_flight_load, latency, prefix_match
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.scheduling.filters.affinity import PrefixAffinity
from tests.fakes.plugins import configured
from tests.fakes.pool import candidates_of, request_with, table_of

NAN = float("nan")
ALL = [True, True, True]
STICKY = [False, True, False]


def built(table: EndpointTable, parameters: Any = None) -> PrefixAffinity:
    return configured(PrefixAffinity, table, parameters)


def kept(
    match: Sequence[int] | None,
    parameters: Any = None,
    *,
    tokens: Sequence[int] | None = None,
    ttft: Sequence[float] | None = None,
    rows: Sequence[int] | None = None,
    total: int = 10,
) -> list[bool]:
    table = table_of([Gauges()] * 3)
    request = request_with(table, match=match, total=total, tokens=tokens)
    if ttft is not None:
        column = np.array([*ttft, NAN])
        request.attributes.write(latency(), LatencyPrediction(column, column, column, column))
    found: list[bool] = built(table, parameters).keep(request, candidates_of(table, rows)).tolist()
    return found


@pytest.mark.parametrize(
    ("match", "parameters", "expected"),
    [
        # 8 / 10 is just the threshold of 0.8.
        ([0, 8, 7], None, STICKY),
        ([0, 7, 7], None, ALL),
        ([8, 9, 10], None, ALL),
        ([0, 8, 9], None, [False, True, True]),
        (None, None, ALL),
        ([0, 5, 4], {"affinityThreshold": 0.5}, STICKY),
        ([0, 10, 9], {"affinityThreshold": 1}, STICKY),
        ([0, 8, 0], {"affinityThreshold": 0}, ALL),
        ([0, 8, 0], {"affinityThreshold": -1}, ALL),
        ([0, 8, 0], {"explorationProbability": 1}, ALL),
    ],
)
def test_who_holds_enough_of_the_prompt_is_kept(
    match: Sequence[int] | None, parameters: Any, expected: list[bool]
) -> None:
    assert kept(match, parameters) == expected


def test_an_empty_prompt_and_few_candidates() -> None:
    assert kept([0, 0, 0], total=0) == ALL
    assert kept([0, 8, 0], rows=[0]) == [True]
    assert kept([0, 8, 0], rows=[]) == []
    assert kept([0, 8, 0], rows=[0, 1]) == [False, True]


@pytest.mark.parametrize(
    ("parameters", "tokens", "expected"),
    [
        # 286704 / 15928 · 1000 = 18000 ms more than row 2's 0 tokens: just the penalty, not above it.
        (None, [0, 286704, 0], STICKY),
        (None, [0, 286705, 0], ALL),
        # The best of the others counts: row 2, with 1000 tokens.
        (None, [900000, 287704, 1000], STICKY),
        (None, [900000, 287705, 1000], ALL),
        # 1001 / 1000 · 1000 = 1001 ms
        ({"peakPrefillThroughput": 1000, "maxTTFTPenaltyMs": 1000}, [0, 1001, 0], ALL),
        ({"peakPrefillThroughput": 1000, "maxTTFTPenaltyMs": 1001}, [0, 1001, 0], STICKY),
        ({"maxTTFTPenaltyMs": 0}, [0, 10**12, 0], STICKY),
        ({"peakPrefillThroughput": 0}, [0, 10**12, 0], STICKY),
        # Not known: no time at all.
        (None, None, STICKY),
    ],
)
def test_it_lets_go_of_what_would_start_too_late(
    parameters: Any, tokens: Sequence[int] | None, expected: list[bool]
) -> None:
    assert kept([0, 10, 0], parameters, tokens=tokens) == expected


@pytest.mark.parametrize(
    ("ttft", "expected"),
    [
        ([100, 5100, 200], STICKY),
        ([100, 5101, 200], ALL),
        # Not predicted is as late as can be, on either side.
        ([100, NAN, NAN], ALL),
        ([NAN, 90000, NAN], STICKY),
        ([NAN, NAN, NAN], STICKY),
        (None, STICKY),
    ],
)
def test_predictions_serve_instead(ttft: Sequence[float] | None, expected: list[bool]) -> None:
    parameters = {"ttftSource": "latencyPredictor", "maxTTFTPenaltyMs": 5000}
    assert kept([0, 10, 0], parameters, ttft=ttft, tokens=[0, 10**9, 0]) == expected


def test_it_explores_as_often_as_it_should() -> None:
    table = table_of([Gauges()] * 2)
    keeping = built(table, {"explorationProbability": 0.25})
    request = request_with(table, match=[10, 0])
    explored = sum(bool(keeping.keep(request, candidates_of(table)).all()) for _ in range(2000))
    # 500 expected, with a standard deviation of 19
    assert 400 < explored < 600


def test_facts_by_source(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of([Gauges()])
    plain = built(table, {"prefixMatchInfoProducerName": "p", "inFlightLoadProducerName": "l"})
    assert list(plain.requires()) == [prefix_match("p"), in_flight_load("l")]
    assert not plain.reads()
    assert not caplog.records
    predicted = built(table, {"ttftSource": "latencyPredictor", "latencyPredictionInfoProducerName": "t"})
    assert list(predicted.requires()) == [prefix_match()]
    assert list(predicted.reads()) == [latency("t")]
    assert "nothing predicts latencies in this version" in caplog.text


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"affinityThreshold": 1.5}, "affinityThreshold is 1.5; write a share up to 1"),
        ({"explorationProbability": -0.1}, "explorationProbability is -0.1; write a number from 0 to 1"),
        ({"explorationProbability": 1.1}, "write a number from 0 to 1"),
        ({"maxTTFTPenaltyMs": -1}, "maxTTFTPenaltyMs is -1.0; write a number from 0 up"),
        ({"peakPrefillThroughput": -1}, "peakPrefillThroughput is -1.0; write a number from 0 up"),
        ({"ttftSource": "magic"}, "ttftSource"),
        ({"maxTtftPenaltyMs": 1}, 'did you mean "maxTTFTPenaltyMs"?'),
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(table_of([Gauges()]), parameters)
    assert part in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 10), min_size=3, max_size=3),
    st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
)
def test_somebody_always_stays_and_who_holds_most_among_them(match: list[int], tokens: list[int]) -> None:
    mask = kept(match, tokens=tokens)
    assert mask[int(np.argmax(match))]
