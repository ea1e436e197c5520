"""Admitters: whom they refuse, how often, and that missing telemetry refuses nobody."""

from typing import Any

import numpy as np
import pytest

from endpoint_picker.admission.admitters import LatencySlo, Probabilistic
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import LatencyPrediction
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Admitter, Plugin
from tests.fakes.plugins import configured
from tests.fakes.pool import candidates_of, request_with, table_of


def built(kind: type[Plugin], table: EndpointTable, **parameters: Any) -> Any:
    plugin = configured(kind, table, parameters, seed=7)
    assert isinstance(plugin, Admitter)
    return plugin


def asking(table: EndpointTable, headers: dict[str, str] | None = None, priority: int = -1) -> Request:
    request = request_with(table)
    request.priority = priority
    request.headers = headers or {}
    return request


# === by chance ===


def refused_share(table: EndpointTable, rounds: int = 4000, priority: int = -1, **parameters: Any) -> float:
    admitter = built(Probabilistic, table, **parameters)
    request, candidates = asking(table, priority=priority), candidates_of(table)
    refused: list[bool] = [admitter.admit(request, candidates) != "" for _ in range(rounds)]
    return sum(refused) / rounds


def pool(*readings: tuple[float, float]) -> EndpointTable:
    return table_of([Gauges(waiting=queue, kv_usage=usage) for queue, usage in readings])


@pytest.mark.parametrize(
    ("readings", "parameters", "expected"),
    [
        ([(0, 0.0)], {}, 0.0),
        ([(1, 0.0)], {}, 0.096),  # s = 1 / 5; 0.2^5 · 300 = 0.096
        ([(0, 0.2)], {}, 0.293),  # s = 0.2 / 0.8; 0.25^5 · 300 = 0.293
        ([(2, 0.0), (0, 0.0)], {}, 0.096),  # s = (0.4 + 0) / 2
        ([(2, 0.0)], {}, 1.0),  # 0.4^5 · 300 = 3.07
        ([(1, 0.0)], {"power": 1, "k": 2}, 0.4),  # 0.2 · 2
        ([(5, 0.0)], {"queueDepthThreshold": 10, "power": 2, "k": 1}, 0.25),  # (5 / 10)^2
        ([(0, 0.5)], {"kvCacheUtilThreshold": 1.0, "power": 2, "k": 2}, 0.5),  # 0.5^2 · 2
        ([(500, 0.0)], {"k": 0}, 0.0),
        ([(1e9, 0.0)], {"power": 1e6}, 1.0),
    ],
)
def test_the_law(readings: list[tuple[float, float]], parameters: dict[str, Any], expected: float) -> None:
    # 4,000 draws: three standard deviations are at most 3 · sqrt(0.25 / 4000) = 0.024.
    assert refused_share(pool(*readings), **parameters) == pytest.approx(expected, abs=0.024)


@pytest.mark.parametrize("priority", [0, 3])
def test_others_are_never_refused(priority: int) -> None:
    assert refused_share(pool((100, 1.0)), 50, priority) == 0.0


def test_the_reason_tells_the_saturation() -> None:
    table = pool((5, 0.0))
    reason = built(Probabilistic, table).admit(asking(table), candidates_of(table))
    assert reason == "the pool is too busy for requests of negative priority (saturation 1.00)"


def test_only_endpoints_that_are_seen_count() -> None:
    table = pool((1, 0.0), (50, 0.0), (50, 0.0))
    table.updated_at[1] = -np.inf
    table.kv_usage[2] = np.nan
    assert refused_share(table) == pytest.approx(0.096, abs=0.024)
    table.updated_at[0] = -np.inf
    assert refused_share(table, 50) == 0.0
    assert refused_share(table_of([]), 50) == 0.0


# === by prediction ===


def predicted(request: Request, *headrooms: tuple[float, float], producer: str = "") -> Request:
    """Headroom of (first token, later tokens) in milliseconds for the first rows."""
    first, later = np.array(headrooms, np.float64).reshape(-1, 2).T
    key = attributes.latency(producer or "predicted-latency-producer")
    request.attributes.write(key, LatencyPrediction(first, later, first, later))
    return request


NAN = float("nan")
SOON = {"x-llm-d-slo-ttft-ms": "100"}
BUSY = table_of([Gauges(waiting=1, running=3, kv_usage=0.5)] * 2)


def verdict(request: Request, table: EndpointTable = BUSY, **parameters: Any) -> bool:
    """Whether it is admitted."""
    reason: str = built(LatencySlo, table, **parameters).admit(request, candidates_of(table))
    assert reason in ("", "no endpoint is predicted to keep the latency objectives of the request")
    return not reason


@pytest.mark.parametrize(
    ("headrooms", "admitted"),
    [
        ([(-1, 5), (5, -1)], False),
        ([(-1, -1), (0, 0)], True),
        ([(-1, 5), (NAN, NAN)], False),
        ([(NAN, NAN), (NAN, NAN)], True),
        ([(NAN, 5), (5, NAN)], False),
    ],
)
def test_somebody_must_keep_both_objectives(headrooms: list[tuple[float, float]], admitted: bool) -> None:
    assert verdict(predicted(asking(BUSY, SOON), *headrooms)) is admitted


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({}, True),
        ({"x-llm-d-slo-ttft-ms": "100"}, False),
        ({"x-slo-ttft-ms": "100.5"}, False),
        ({"x-llm-d-slo-tpot-ms": "20"}, False),
        ({"x-slo-tpot-ms": "20"}, False),
        ({"x-llm-d-slo-ttft-ms": "soon"}, True),
        ({"x-llm-d-slo-ttft-ms": "0"}, True),
        ({"x-llm-d-slo-ttft-ms": "-5", "x-llm-d-slo-tpot-ms": "nan"}, True),
        ({"x-llm-d-slo-ttft-ms": "0", "x-slo-ttft-ms": "100"}, True),  # the name of today wins
    ],
)
def test_without_an_objective_nobody_is_refused(headers: dict[str, str], admitted: bool) -> None:
    assert verdict(predicted(asking(BUSY, headers), (-1, -1), (-1, -1))) is admitted


def test_others_and_those_without_predictions_are_admitted() -> None:
    assert verdict(predicted(asking(BUSY, SOON, priority=0), (-1, -1), (-1, -1)))
    assert verdict(asking(BUSY, SOON))
    mine = predicted(asking(BUSY, SOON), (-1, -1), (-1, -1), producer="mine")
    assert verdict(mine)
    assert not verdict(mine, latencyPredictionInfoProducerName="mine")


@pytest.mark.parametrize(
    ("second", "admitted"),
    [
        (Gauges(waiting=0, running=0, kv_usage=0.5), True),  # idle
        (Gauges(waiting=0, running=3, kv_usage=0.019), True),  # cold
        (Gauges(waiting=0, running=1, kv_usage=0.02), False),
    ],
)
def test_an_idle_or_a_cold_endpoint_is_reason_enough_to_admit(second: Gauges, admitted: bool) -> None:
    table = table_of([Gauges(waiting=1, running=3, kv_usage=0.5), second])
    request = predicted(asking(table, SOON), (-1, -1), (-1, -1))
    assert verdict(request, table) is admitted


def test_an_endpoint_that_nobody_can_see_is_neither_idle_nor_cold() -> None:
    table = table_of([Gauges(waiting=1, running=3, kv_usage=0.5), Gauges()])
    table.updated_at[1] = -np.inf
    assert not verdict(predicted(asking(table, SOON), (-1, -1), (-1, -1)), table)


def test_rows_that_came_after_the_prediction_are_not_predicted() -> None:
    request = predicted(asking(BUSY, SOON), (-1, -1))
    assert not verdict(request)


def test_predictions_are_read_where_they_exist() -> None:
    admitter = built(LatencySlo, BUSY, latencyPredictionInfoProducerName="mine")
    assert admitter.requires() == ()
    assert admitter.reads() == (attributes.latency("mine"),)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (Probabilistic, {"queueDepthThreshold": 0}, "queueDepthThreshold is 0.0; write a number of requests"),
        (Probabilistic, {"kvCacheUtilThreshold": 2}, "kvCacheUtilThreshold is 2.0; write a number above 0"),
        (Probabilistic, {"power": 0}, "power is 0.0; write a number above 0 such as 5"),
        (Probabilistic, {"power": float("inf")}, "power is inf"),
        (Probabilistic, {"k": -1}, "k is -1.0; write a factor such as 300, 0 or more"),
        (Probabilistic, {"K": 1}, 'unknown key "parameters.K"; did you mean "k"?'),
        (LatencySlo, {"producer": "x"}, 'unknown key "parameters.producer"'),
    ],
)
def test_parameters_that_make_no_sense(kind: type[Plugin], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(kind, table_of([]), **parameters)
    assert message in str(caught.value)
