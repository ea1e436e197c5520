"""The utilization filter: each metric, all limits at once, and replicas that nobody can see."""

from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.attributes import in_flight_load
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.filters.utilization import Utilization
from tests.fakes.plugins import configured
from tests.fakes.pool import candidates_of, request_with, table_of


def built(table: EndpointTable, **parameters: Any) -> Utilization:
    return configured(Utilization, table, parameters)


def kept(
    table: EndpointTable, *limits: tuple[str, float], request: Request | None = None, **more: Any
) -> list[bool]:
    conditions = [{"metric": metric, "maxValue": value} for metric, value in limits]
    keeping = built(table, conditions=conditions, **more)
    return [bool(stays) for stays in keeping.keep(request or request_with(table), candidates_of(table))]


def test_each_metric_is_compared_with_its_limit_inclusive() -> None:
    table = table_of([Gauges(waiting=n, running=10 + n, kv_usage=n / 10) for n in (1, 2, 3)])
    assert kept(table, ("waiting-queue", 2)) == [True, True, False]
    assert kept(table, ("running-requests", 11)) == [True, False, False]
    assert kept(table, ("kv-cache-utilization", 0.2)) == [True, True, False]
    loaded = request_with(table, requests=[7, 8, 9])
    assert kept(table, ("active-requests", 8), request=loaded) == [True, True, False]


def test_all_limits_must_hold() -> None:
    table = table_of([Gauges(waiting=0, kv_usage=0.9), Gauges(waiting=9, kv_usage=0.1), Gauges(0, 0, 0.1)])
    assert kept(table, ("waiting-queue", 5), ("kv-cache-utilization", 0.5)) == [False, False, True]


def test_nobody_may_be_left_unless_everybody_shall_stay_then() -> None:
    table = table_of([Gauges(waiting=8), Gauges(waiting=9)])
    assert kept(table, ("waiting-queue", 5)) == [False, False]
    assert kept(table, ("waiting-queue", 5), fallbackOnEmpty=True) == [True, True]
    assert kept(table, ("waiting-queue", 8), fallbackOnEmpty=True) == [True, False]


def test_a_replica_that_nobody_can_see_is_not_idle() -> None:
    # Never read; the others' mean is 20, and as much is in flight with it as with them: it counts as 20.
    table = table_of([Gauges(waiting=18), Gauges(waiting=22), Gauges()])
    table.updated_at[2] = -np.inf
    assert kept(table, ("waiting-queue", 18)) == [True, False, False]
    assert kept(table, ("waiting-queue", 20)) == [True, False, True]


def test_with_no_telemetry_at_all_our_own_ledger_decides() -> None:
    table = table_of([Gauges(), Gauges()])
    table.updated_at[:2] = -np.inf
    table.in_flight[:2] = [3, 9]
    assert kept(table, ("waiting-queue", 5)) == [True, False]


def test_without_the_fact_of_the_load_in_flight_the_ledger_is_asked() -> None:
    table = table_of([Gauges(), Gauges()])
    table.in_flight[:2] = [3, 9]
    assert kept(table, ("active-requests", 5)) == [True, False]


def test_the_load_in_flight_is_required_only_where_it_counts() -> None:
    table, active = table_of([Gauges()]), {"metric": "active-requests", "maxValue": 1}
    named = built(table, conditions=[active], inFlightLoadProducerName="mine")
    assert list(named.requires()) == [in_flight_load("mine")]
    assert not built(table, conditions=[{"metric": "waiting-queue", "maxValue": 1}]).requires()


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({}, "conditions is empty; list at least one metric"),
        ({"conditions": [{"metric": "kv-cache-utilization", "maxValue": 80}]}, "write a share from 0 to 1"),
        ({"conditions": [{"metric": "waiting-queue", "maxValue": -1}]}, "must be at least 0"),
        ({"conditions": [{"metric": "queue", "maxValue": 1}]}, "metric"),
        ({"conditions": [{"metric": "waiting-queue"}]}, "maxValue"),
    ],
)
def test_parameters_that_make_no_sense(parameters: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=r"epp\.yaml") as caught:
        built(table_of([]), **parameters)
    assert part in str(caught.value)
