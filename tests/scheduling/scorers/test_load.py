"""Load scorers: formulas as tables; the laws that all scorers share stand in test_contract."""

from typing import Any

import pytest

from endpoint_picker.core.attributes import in_flight_load, uncached_tokens
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.plugin import Wiring
from endpoint_picker.scheduling.scorers.load import (
    ActiveParameters,
    ActiveRequests,
    KvUsage,
    LoadAware,
    Queue,
    Running,
    ThresholdParameters,
    TokenLoad,
    TokenLoadParameters,
)
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


@pytest.mark.parametrize(
    ("loads", "scores"),
    [
        ([0, 5, 10], [1.0, 0.5, 0.0]),
        ([3, 3, 3], [1.0, 1.0, 1.0]),
        ([7], [1.0]),
        ([2, 4], [1.0, 0.0]),
        ([], []),
    ],
)
def test_queue_and_running_scale_between_least_and_most(loads: list[float], scores: list[float]) -> None:
    table = table_of([Gauges(waiting=load, running=load) for load in loads])
    for scorer in (Queue("q", None, wiring_of(table)), Running("r", None, wiring_of(table))):
        assert scorer.score(request_with(table), candidates_of(table)).tolist() == scores


def test_queue_and_running_read_their_own_gauge() -> None:
    table = table_of([Gauges(waiting=0, running=9), Gauges(waiting=9, running=0)])
    request, candidates = request_with(table), candidates_of(table)
    assert Queue("q", None, wiring_of(table)).score(request, candidates).tolist() == [1.0, 0.0]
    assert Running("r", None, wiring_of(table)).score(request, candidates).tolist() == [0.0, 1.0]


def test_only_candidates_set_the_scale() -> None:
    table = table_of([Gauges(waiting=load) for load in (0, 4, 8, 100)])
    scores = Queue("q", None, wiring_of(table)).score(request_with(table), candidates_of(table, [1, 2]))
    assert scores.tolist() == [1.0, 0.0]


def test_a_replica_that_nobody_can_see_is_neither_best_nor_worst() -> None:
    table = table_of([Gauges(waiting=0), Gauges(waiting=10), Gauges()])
    scores = Queue("q", None, wiring_of(table)).score(request_with(table), candidates_of(table))
    assert scores.tolist() == [1.0, 0.0, 0.5]


def test_kv_usage_scores_the_free_share() -> None:
    table = table_of([Gauges(kv_usage=0.0), Gauges(kv_usage=0.25), Gauges(kv_usage=1.0)])
    scores = KvUsage("kv", None, wiring_of(table)).score(request_with(table), candidates_of(table))
    assert scores.tolist() == [1.0, 0.75, 0.0]


def active(wiring: Wiring, **parameters: Any) -> ActiveRequests:
    return ActiveRequests("a", ActiveParameters(**parameters), wiring)


@pytest.mark.parametrize(
    ("parameters", "counts", "scores"),
    [
        ({}, [0, 1, 4], [1.0, 0.75, 0.0]),
        ({}, [0, 0], [1.0, 1.0]),
        ({"idle_threshold": 2}, [2, 3, 4], [1.0, 0.25, 0.0]),
        ({"idle_threshold": 9}, [2, 3, 4], [1.0, 1.0, 1.0]),
        ({"idle_threshold": -5}, [0, 2, 4], [1.0, 0.5, 0.0]),
        ({"max_busy_score": 0.5}, [0, 2, 4], [1.0, 0.25, 0.0]),
        ({"max_busy_score": 1.5}, [0, 2, 4], [1.0, 0.5, 0.0]),
        ({"max_busy_score": -1.0}, [0, 2, 4], [1.0, 0.5, 0.0]),
        ({"request_timeout": "5s"}, [4, 4], [0.0, 0.0]),
    ],
)
def test_active_requests(parameters: dict[str, Any], counts: list[int], scores: list[float]) -> None:
    table = table_of([Gauges()] * len(counts))
    request = request_with(table, requests=counts)
    assert active(wiring_of(table), **parameters).score(request, candidates_of(table)).tolist() == scores


def test_without_a_load_everybody_is_idle() -> None:
    table = table_of([Gauges()] * 2)
    assert active(wiring_of(table)).score(request_with(table), candidates_of(table)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("threshold", "tokens", "cost", "scores"),
    [
        (100, [0, 0, 0], [0, 50, 100], [1.0, 0.5, 0.0]),
        (100, [0, 20, 90], [30, 30, 30], [0.7, 0.5, 0.0]),
        (0, [4194304 // 2], [0], [0.5]),
        (-1, [4194304 * 2], [0], [0.0]),
        (100, None, [25], [0.75]),
        (100, [25], None, [0.75]),
        (100, None, None, [1.0]),
        (100, [-5], [0], [1.0]),
    ],
)
def test_token_load(
    threshold: int, tokens: list[int] | None, cost: list[int] | None, scores: list[float]
) -> None:
    table = table_of([Gauges()] * len(scores))
    scorer = TokenLoad("t", TokenLoadParameters(queue_threshold_tokens=threshold), wiring_of(table))
    found = scorer.score(request_with(table, tokens=tokens, cost=cost), candidates_of(table))
    assert found.tolist() == pytest.approx(scores)


def test_token_load_counts_the_estimated_output_too() -> None:
    table = table_of([Gauges()])
    scorer = TokenLoad("t", TokenLoadParameters(queue_threshold_tokens=100), wiring_of(table))
    request = request_with(table, tokens=[10], cost=[20], output=30)
    assert scorer.score(request, candidates_of(table)).tolist() == pytest.approx([0.4])


def test_the_facts_are_those_of_the_named_producer() -> None:
    wiring = wiring_of(table_of([Gauges()]))
    named = active(wiring, in_flight_load_producer_name="mine")
    tokens = TokenLoad("t", TokenLoadParameters(in_flight_load_producer_name="mine"), wiring)
    assert list(named.requires()) == [in_flight_load("mine")]
    assert list(tokens.requires()) == [in_flight_load("mine"), uncached_tokens("mine")]


@pytest.mark.parametrize(
    ("threshold", "scores"),
    [
        # 0.5 * (1 - 0/128), 0.5 * (1 - 32/128), 0.5 * (1 - 128/128), and no less beyond
        (128, [0.5, 0.375, 0.0, 0.0]),
        (64, [0.5, 0.25, 0.0, 0.0]),
        (0, [0.5, 0.375, 0.0, 0.0]),
        (-1, [0.5, 0.375, 0.0, 0.0]),
    ],
)
def test_load_aware_falls_from_one_half_to_0_at_the_threshold(threshold: int, scores: list[float]) -> None:
    table = table_of([Gauges(waiting=queue) for queue in (0, 32, 128, 1000)])
    scorer = LoadAware("l", ThresholdParameters(threshold=threshold), wiring_of(table))
    assert scorer.score(request_with(table), candidates_of(table)).tolist() == scores


def test_load_aware_takes_a_replica_that_nobody_can_see_for_average() -> None:
    # mean of 0 and 64 is 32: 0.5 * (1 - 32/128)
    table = table_of([Gauges(waiting=0), Gauges(waiting=64), Gauges()])
    scorer = LoadAware("l", ThresholdParameters(), wiring_of(table))
    assert scorer.score(request_with(table), candidates_of(table)).tolist() == [0.5, 0.25, 0.375]
