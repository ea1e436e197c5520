"""The filter by headroom: two tiers, and a little chance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.attributes import LatencyPrediction, latency
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.filters.slo import HeadroomTier
from tests.fakes.plugins import configured
from tests.fakes.pool import candidates_of, request_with, table_of

NAN = float("nan")
ALL = [True, True, True]
NEVER = {"epsilonExploreNeg": 0}
ALWAYS = {"epsilonExploreNeg": 1}


def built(table: EndpointTable, parameters: Any = None) -> HeadroomTier:
    return configured(HeadroomTier, table, parameters)


def request_of(
    table: EndpointTable,
    ttft: Sequence[float],
    tpot: Sequence[float],
    name: str = "predicted-latency-producer",
) -> Request:
    request = request_with(table)
    first, second = np.array([*ttft, NAN]), np.array([*tpot, NAN])
    request.attributes.write(latency(name), LatencyPrediction(first, second, first, second))
    return request


@pytest.mark.parametrize(
    ("ttft", "tpot", "positive"),
    [
        # Both headrooms from 0 up
        ([1, 0, -1], [1, 0, 1], [True, True, False]),
        ([1, 1, 1], [1, -1, -2], [True, False, False]),
        # Not predicted, wholly or in part: with those that miss
        ([1, NAN, 1], [1, NAN, NAN], [True, False, False]),
    ],
)
def test_two_tiers(ttft: Sequence[float], tpot: Sequence[float], positive: list[bool]) -> None:
    table = table_of([Gauges()] * 3)
    request, candidates = request_of(table, ttft, tpot), candidates_of(table)
    assert built(table, NEVER).keep(request, candidates).tolist() == positive
    assert built(table, ALWAYS).keep(request, candidates).tolist() == [not each for each in positive]


@pytest.mark.parametrize("parameters", [NEVER, ALWAYS])
@pytest.mark.parametrize(
    ("ttft", "tpot"),
    [
        ([1, 2, 3], [0, 0, 0]),
        ([-1, -2, 5], [1, 1, -1]),
        ([NAN] * 3, [NAN] * 3),
        ([-1, NAN, NAN], [1, NAN, NAN]),
    ],
)
def test_all_stay_where_there_is_one_tier(
    ttft: Sequence[float], tpot: Sequence[float], parameters: Any
) -> None:
    table = table_of([Gauges()] * 3)
    assert built(table, parameters).keep(request_of(table, ttft, tpot), candidates_of(table)).tolist() == ALL


def test_without_predictions_all_stay() -> None:
    table = table_of([Gauges()] * 3)
    assert built(table, ALWAYS).keep(request_with(table), candidates_of(table)).tolist() == ALL
    assert (
        built(table).keep(request_of(table, [1, -1, 1], [1, 1, 1]), candidates_of(table, [])).tolist() == []
    )


def test_only_candidates_are_answered_for() -> None:
    table = table_of([Gauges()] * 3)
    mask = built(table, NEVER).keep(request_of(table, [1, -1, 1], [1, 1, 1]), candidates_of(table, [1, 2]))
    assert mask.tolist() == [False, True]


def test_the_other_tier_is_tried_as_often_as_it_should() -> None:
    table = table_of([Gauges()] * 2)
    keeping, request = built(table), request_of(table, [1, -1], [1, 1])
    tried = sum(bool(keeping.keep(request, candidates_of(table))[1]) for _ in range(5000))
    # 1 % of 5000 are 50, with a standard deviation of 7
    assert 20 < tried < 80


def test_its_fact_is_that_of_the_named_producer_and_optional(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of([Gauges()] * 2)
    keeping = built(table, {"latencyPredictionInfoProducerName": "p", "epsilonExploreNeg": 0})
    assert list(keeping.reads()) == [latency("p")]
    assert not keeping.requires()
    mask = keeping.keep(request_of(table, [1, -1], [1, 1], "p"), candidates_of(table))
    assert mask.tolist() == [True, False]
    assert "nothing predicts latencies in this version" in caplog.text


@pytest.mark.parametrize("epsilon", [-0.1, 1.1])
def test_parameters_that_make_no_sense(epsilon: float) -> None:
    message = f"epsilonExploreNeg is {epsilon}; write a number from 0 to 1"
    with pytest.raises(ConfigError, match=message):
        built(table_of([Gauges()]), {"epsilonExploreNeg": epsilon})
