"""What every scorer of the catalog promises, and what every load scorer promises on top."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.catalog import TABLE
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin, Scorer
from endpoint_picker.scheduling.scorers import attributes
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

SCORERS = sorted(name for name, kind in TABLE.items() if hasattr(kind, "score"))

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "header-label-affinity-scorer": {"header_name": "x-tier", "label_key": "tier"},
    "endpoint-attribute-scorer": {
        "attribute_key": "a",
        "algorithm": attributes.Algorithm(type="linear_lower_is_better"),
    },
}
"""Parameters of the scorers that cannot do without."""

COUNT = st.integers(0, 10**6)
ADAPTERS = st.frozensets(st.sampled_from("abc"), max_size=3)
GAUGES = st.builds(
    Gauges,
    waiting=st.none() | st.just(np.nan) | COUNT.map(float),
    running=st.none() | st.just(np.nan) | COUNT.map(float),
    kv_usage=st.none() | st.just(np.nan) | st.floats(0.0, 1.0),
    max_lora=st.none() | st.integers(0, 4),
    lora_running=ADAPTERS,
    lora_waiting=ADAPTERS,
)


@st.composite
def pools(draw: st.DrawFn) -> tuple[EndpointTable, Request]:
    """A table, parts of it unknown, and a request with or without facts."""
    table = table_of(draw(st.lists(GAUGES, min_size=1, max_size=6)))
    for row in draw(st.sets(st.sampled_from(table.live.tolist()))):
        table.updated_at[row] = -np.inf
    column = st.none() | st.lists(st.integers(0, 10**7), min_size=len(table), max_size=len(table))
    total = draw(st.integers(0, 50))
    held = st.none() | st.lists(st.integers(0, total), min_size=len(table), max_size=len(table))
    request = request_with(
        table,
        model="a",
        match=draw(held),
        total=total,
        requests=draw(column),
        tokens=draw(column),
        cost=draw(column),
    )
    return table, request


def scorer_of(name: str, table: EndpointTable, **parameters: Any) -> Scorer:
    kind: type[Plugin] = TABLE[name]
    given = {**EXAMPLES.get(name, {}), **parameters}
    plugin = kind(name, kind.schema(**given) if kind.schema else None, wiring_of(table))
    assert isinstance(plugin, Scorer)
    return plugin


def test_there_are_scorers_to_hold_to_it() -> None:
    assert len(SCORERS) >= 7


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=60, deadline=None)
@given(pools())
def test_one_score_in_0_to_1_for_each_candidate(name: str, pool: tuple[EndpointTable, Request]) -> None:
    table, request = pool
    subsets: list[list[int] | None] = [None, table.live.tolist()[1:], []]
    for rows in subsets:
        candidates = candidates_of(table, rows)
        scores = scorer_of(name, table).score(request, candidates)
        assert scores.dtype == np.float64
        assert scores.shape == (len(candidates),)
        assert ((scores >= 0.0) & (scores <= 1.0)).all()


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=60, deadline=None)
@given(pools(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(
    name: str, pool: tuple[EndpointTable, Request], shuffler: random.Random
) -> None:
    table, request = pool
    scorer = scorer_of(name, table)
    order = list(range(len(table)))
    shuffler.shuffle(order)
    shuffled = candidates_of(table, table.live[order].tolist())
    straight = scorer.score(request, candidates_of(table))
    assert scorer.score(request, shuffled).tolist() == pytest.approx(straight[order].tolist())


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=30, deadline=None)
@given(pools())
def test_scoring_changes_nothing(name: str, pool: tuple[EndpointTable, Request]) -> None:
    table, request = pool
    columns = ("waiting", "running", "kv_usage", "in_flight", "in_flight_tokens", "prefill_tokens")
    before = [getattr(table, column).copy() for column in columns]
    scorer = scorer_of(name, table)
    first = scorer.score(request, candidates_of(table)).tolist()
    assert scorer.score(request, candidates_of(table)).tolist() == first
    for column, old in zip(columns, before, strict=True):
        np.testing.assert_array_equal(getattr(table, column), old)


def by_gauge(name: str) -> Callable[[list[int]], tuple[EndpointTable, Request]]:
    def pool(loads: list[int]) -> tuple[EndpointTable, Request]:
        table = table_of([Gauges()] * len(loads))
        getattr(table, name)[: len(loads)] = np.array(loads) / (10**6 if name == "kv_usage" else 1)
        return table, request_with(table)

    return pool


def by_fact(name: str) -> Callable[[list[int]], tuple[EndpointTable, Request]]:
    def pool(loads: list[int]) -> tuple[EndpointTable, Request]:
        table = table_of([Gauges()] * len(loads))
        return table, request_with(table, **{name: loads})  # type: ignore[arg-type]

    return pool


@pytest.mark.parametrize(
    ("name", "parameters", "pool"),
    [
        ("queue-scorer", {}, by_gauge("waiting")),
        ("running-requests-size-scorer", {}, by_gauge("running")),
        ("kv-cache-utilization-scorer", {}, by_gauge("kv_usage")),
        ("active-request-scorer", {}, by_fact("requests")),
        ("active-request-scorer", {"idle_threshold": 100, "max_busy_score": 0.3}, by_fact("requests")),
        ("token-load-scorer", {}, by_fact("tokens")),
        ("token-load-scorer", {"queue_threshold_tokens": 1000}, by_fact("cost")),
    ],
)
@settings(max_examples=60, deadline=None)
@given(loads=st.lists(COUNT, min_size=1, max_size=6))
def test_more_load_is_never_better(
    name: str,
    parameters: dict[str, Any],
    pool: Callable[[list[int]], tuple[EndpointTable, Request]],
    loads: list[int],
) -> None:
    table, request = pool(sorted(loads))
    scores = scorer_of(name, table, **parameters).score(request, candidates_of(table))
    assert (np.diff(scores) <= 0.0).all()
    # Not trivially so: the ends differ where the loads do, unless both are on one side of a threshold.
    if max(loads) > 1000 > 100 > min(loads):
        assert scores[0] > scores[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 64), min_size=1, max_size=6), st.floats(0.0, 1.0))
def test_a_longer_match_is_never_worse(match: list[int], weight: float) -> None:
    table = table_of([Gauges()] * len(match))
    scorer = scorer_of("prefix-cache-scorer", table, match_length_weight=weight)
    scores = scorer.score(request_with(table, match=sorted(match), total=64), candidates_of(table))
    assert (np.diff(scores) >= 0.0).all()
