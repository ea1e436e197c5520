"""Saturation detectors: how full a pool is, whom the same limits keep, and what late readings do not do."""

from typing import Any

import numpy as np
import pytest

from endpoint_picker.admission.saturation import Concurrency, Utilization
from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.plugin import Detector, Filter, Plugin
from tests.fakes.pool import NOW, candidates_of, request_with, table_of, wiring_of

REQUEST = request_with(table_of([]))


def built(kind: type[Plugin], table: EndpointTable, **parameters: Any) -> Any:
    block = PluginBlock(type=kind.type, name="d", parameters=parameters)
    found = load.parameters(block, kind.schema, source="epp.yaml")
    return kind("d", found, wiring_of(table))


def pool(*readings: tuple[float, float]) -> EndpointTable:
    """Endpoints with these (queue, KV usage)."""
    return table_of([Gauges(waiting=queue, kv_usage=usage) for queue, usage in readings])


def fullness(table: EndpointTable, **parameters: Any) -> float:
    found: float = built(Utilization, table, **parameters).saturation(candidates_of(table))
    return found


def kept(kind: type[Plugin], table: EndpointTable, **parameters: Any) -> list[bool]:
    mask = built(kind, table, **parameters).keep(REQUEST, candidates_of(table))
    assert mask.dtype == np.bool_
    return [bool(stays) for stays in mask]


def load_of(*loads: tuple[int, int]) -> EndpointTable:
    """Endpoints with these (requests, tokens) in flight."""
    table = table_of([Gauges()] * len(loads))
    for row, (requests, tokens) in enumerate(loads):
        table.in_flight[row] = requests
        table.prefill_tokens[row] = table.in_flight_tokens[row] = tokens
    return table


@pytest.mark.parametrize("kind", [Utilization, Concurrency])
def test_both_are_detectors_and_filters(kind: type[Plugin]) -> None:
    assert issubclass(kind, Detector)
    assert issubclass(kind, Filter)


@pytest.mark.parametrize("kind", [Utilization, Concurrency])
def test_an_empty_pool_is_full(kind: type[Plugin]) -> None:
    table = table_of([])
    assert built(kind, table).saturation(candidates_of(table)) == 1.0
    assert kept(kind, table) == []


# === by what the replicas say ===


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(0, 0.0)], 0.0),
        ([(5, 0.0)], 1.0),  # 5 / 5
        ([(1, 0.4)], 0.5),  # max(1 / 5, 0.4 / 0.8)
        ([(4, 0.4)], 0.8),  # max(4 / 5, 0.4 / 0.8)
        ([(10, 0.8), (0, 0.4)], 1.25),  # (max(2, 1) + max(0, 0.5)) / 2
        ([(0, 1.0), (0, 0.2)], 0.75),  # (1.25 + 0.25) / 2
    ],
)
def test_the_fuller_of_queue_and_cache_on_average(
    readings: list[tuple[float, float]], expected: float
) -> None:
    assert fullness(pool(*readings)) == pytest.approx(expected)


def test_thresholds_are_parameters() -> None:
    # max(20 / 40, 0.45 / 0.5) = 0.9
    assert fullness(pool((20, 0.45)), queueDepthThreshold=40, kvCacheUtilThreshold=0.5) == pytest.approx(0.9)


def test_what_was_sent_since_the_last_reading_counts_as_queued() -> None:
    table = pool((3, 0.0))
    for _ in range(2):
        Ledger(table).reserve(0, prefill_tokens=1)
    assert fullness(table) == pytest.approx(1.0)  # (3 + 2) / 5


def test_only_the_candidates_count() -> None:
    table = pool((0, 0.0), (5, 0.0), (10, 0.0))
    detector = built(Utilization, table)
    assert detector.saturation(candidates_of(table, [1, 2])) == pytest.approx(1.5)  # (1 + 2) / 2
    assert detector.saturation(candidates_of(table, [0])) == 0.0


@pytest.mark.parametrize("blind", ["stale", "never", "half a page"])
@pytest.mark.parametrize("in_flight", [0, 1, 100])
def test_telemetry_that_is_missing_everywhere_makes_the_pool_neither_full_nor_idle(
    blind: str, in_flight: int
) -> None:
    table = pool((50, 1.0), (50, 1.0)) if blind == "stale" else table_of([Gauges()] * 2)
    if blind != "half a page":
        table.updated_at[:2] = NOW - 60.0 if blind == "stale" else -np.inf
    table.in_flight[:2] = in_flight
    # The cache counts as half full: 0.5 / 0.8 = 0.625; the queue as one more than is in flight, capped.
    expected = {0: 0.625, 1: 0.625, 100: 0.99}[in_flight]
    assert fullness(table) == pytest.approx(expected)
    assert kept(Utilization, table) == [True, True]


def test_an_endpoint_that_is_not_seen_does_not_fill_a_pool_that_has_room() -> None:
    table = pool((0, 0.16), (0, 0.16), (0, 0.0))
    table.updated_at[2] = -np.inf
    table.in_flight[2] = 100
    # 0.16 / 0.8 = 0.2 twice; 101 / 5 is capped at 0.99: (0.2 + 0.2 + 0.99) / 3
    assert fullness(table) == pytest.approx(1.39 / 3)


def test_an_endpoint_that_is_not_seen_is_as_full_as_the_others_where_those_are_full() -> None:
    table = pool((10, 0.0), (20, 0.0), (0, 0.0))
    table.updated_at[2] = -np.inf
    # Queues 10 and 20 make 2 and 4; the third counts as their average of 15: 3.
    assert fullness(table) == pytest.approx(3.0)
    assert kept(Utilization, pool((10, 0.0), (20, 0.0), (15, 0.0))) == [True] * 3


@pytest.mark.parametrize(
    ("readings", "headroom", "expected"),
    [
        ([(4, 0.1), (5, 0.1), (0, 0.79), (0, 0.8)], 0.0, [True, False, True, False]),
        # Limits of 5 · 1.2 = 6 and 0.8 · 1.2 = 0.96
        ([(5, 0.95), (6, 0.1), (0, 0.97)], 0.2, [True, False, False]),
        ([(9, 0.1), (0, 0.9)], 0.0, [True, True]),  # nobody is below: everybody stays
    ],
)
def test_the_filter_keeps_those_below_both_thresholds_or_everybody(
    readings: list[tuple[float, float]], headroom: float, expected: list[bool]
) -> None:
    assert kept(Utilization, pool(*readings), headroom=headroom) == expected


def test_a_headroom_above_one_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    built(Utilization, table_of([]), headroom=1.0)
    assert not caplog.records
    built(Utilization, table_of([]), headroom=1.5)
    assert "headroom 1.5 lets endpoints go far beyond full" in caplog.text


# === by what the picker has sent ===


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("requests", 0.3),  # (10 + 50) / 200
        ("tokens", 0.55),  # (1,000,000 + 100,000) / 2,000,000
        ("hybrid", 0.75),  # (max(0.1, 1.0) + max(0.5, 0.1)) / 2
    ],
)
def test_load_by_capacity(mode: str, expected: float) -> None:
    table = load_of((10, 1_000_000), (50, 100_000))
    found = built(Concurrency, table, concurrencyMode=mode).saturation(candidates_of(table))
    assert found == pytest.approx(expected)


def test_limits_are_parameters_and_only_candidates_count() -> None:
    table = load_of((3, 300), (8, 100), (0, 0))
    detector = built(Concurrency, table, maxConcurrency=4)
    assert detector.saturation(candidates_of(table, [0, 1])) == pytest.approx(11 / 8)
    by_tokens = built(Concurrency, table, concurrencyMode="tokens", maxTokenConcurrency=200)
    assert by_tokens.saturation(candidates_of(table, [0, 1])) == pytest.approx(1.0)  # 400 / 400


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"maxConcurrency": 10}, [True, False, True]),
        # int(10 · 1.15) = 11: ten requests are below it, eleven are not.
        ({"maxConcurrency": 10, "headroom": 0.15}, [True, True, True]),
        ({"maxConcurrency": 9, "headroom": 0.15}, [True, False, True]),  # int(9 · 1.15) = 10
        ({"maxConcurrency": 8, "headroom": 0.25}, [True, False, True]),  # int(8 · 1.25) = 10
        ({"concurrencyMode": "tokens", "maxTokenConcurrency": 100}, [True, True, False]),
        (
            {"concurrencyMode": "hybrid", "maxConcurrency": 10, "maxTokenConcurrency": 100},
            [True, False, False],
        ),
        ({"maxConcurrency": 1}, [False, False, True]),
    ],
)
def test_the_filter_keeps_those_below_their_limit(parameters: dict[str, Any], expected: list[bool]) -> None:
    assert kept(Concurrency, load_of((9, 50), (10, 99), (0, 100)), **parameters) == expected


def test_the_filter_keeps_nobody_where_all_are_full() -> None:
    assert kept(Concurrency, load_of((1, 0), (2, 0)), maxConcurrency=1) == [False, False]


def test_tokens_weigh_until_the_first_one_or_with_output_until_the_end() -> None:
    table = table_of([Gauges()])
    Ledger(table).reserve(0, prefill_tokens=60, output_tokens=40).first_token()
    detector = built(Concurrency, table, concurrencyMode="tokens", maxTokenConcurrency=100)
    assert detector.saturation(candidates_of(table)) == 0.0
    detector.with_output = True
    assert detector.saturation(candidates_of(table)) == pytest.approx(1.0)


def test_the_producer_of_the_load_is_required_by_name() -> None:
    table = table_of([])
    assert built(Concurrency, table).requires() == (attributes.in_flight_load(),)
    mine = built(Concurrency, table, inFlightLoadProducerName="mine")
    assert mine.requires() == (attributes.in_flight_load("mine"),)


# === parameters ===


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (
            Utilization,
            {"queueDepthThreshold": 0},
            "queueDepthThreshold is 0; write a number of requests above 0",
        ),
        (
            Utilization,
            {"kvCacheUtilThreshold": 0},
            "kvCacheUtilThreshold is 0.0; write a number above 0, at most 1",
        ),
        (Utilization, {"kvCacheUtilThreshold": 1.1}, "kvCacheUtilThreshold is 1.1; write a number above 0"),
        (Utilization, {"kvCacheUtilThreshold": float("nan")}, "kvCacheUtilThreshold is nan"),
        (Utilization, {"headroom": -0.1}, "headroom is -0.1; write a share on top of the limit such as 0.1"),
        (Utilization, {"headroom": float("inf")}, "headroom is inf"),
        (Utilization, {"metricsStalenessThreshold": "0s"}, "metricsStalenessThreshold is not above 0; write"),
        (Utilization, {"metricsStalenessThreshold": 200}, "metricsStalenessThreshold"),
        (Utilization, {"queueDepth": 1}, 'did you mean "parameters.queueDepthThreshold"'),
        (
            Concurrency,
            {"maxConcurrency": 0},
            "maxConcurrency is 0; write how much one endpoint takes, 1 or more",
        ),
        (Concurrency, {"maxTokenConcurrency": -1}, "maxTokenConcurrency is -1; write how much"),
        (Concurrency, {"headroom": -1}, "headroom is -1.0; write"),
        (Concurrency, {"concurrencyMode": "both"}, "concurrencyMode"),
    ],
)
def test_parameters_that_make_no_sense(kind: type[Plugin], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"epp\.yaml") as caught:
        built(kind, table_of([]), **parameters)
    assert message.replace("parameters.", "") in str(caught.value).replace("parameters.", "")
