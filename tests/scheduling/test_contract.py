"""The whole catalog passes the contract kit; load scorers promise more: less load is never worse."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.catalog import TABLE
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Scorer
from endpoint_picker.testing import candidates_of, check_plugin, make, request_with, roles, table_of
from endpoint_picker.testing.examples import PARAMETERS
from endpoint_picker.testing.kit import LAWS, check_class

COUNT = st.integers(0, 10**6)

SUFFIXES: Final = (
    "-filter",
    "-scorer",
    "-picker",
    "-producer",
    "-parser",
    "-screener",
    "-admitter",
    "-detector",
    "-decider",
)
"""Types that end so serve an extension point that the kit knows."""


def parameters_of(name: str) -> Mapping[str, Any]:
    """The example's parameters. Fails where one is needed and nobody wrote it."""
    try:
        make(TABLE[name], EndpointTable(), **PARAMETERS.get(name, {}))
    except ConfigError as error:
        pytest.fail(
            f"{name} needs an example: add its parameters to endpoint_picker/testing/examples.py ({error})"
        )
    return PARAMETERS.get(name, {})


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_type_of_the_catalog_keeps_the_laws(name: str) -> None:
    kind, parameters = TABLE[name], parameters_of(name)
    if roles(kind):
        check_plugin(kind, **parameters)
    else:
        assert not name.endswith(SUFFIXES)
        check_class(kind, **parameters)


def test_no_example_is_of_a_type_that_is_gone() -> None:
    assert sorted(PARAMETERS.keys() - TABLE.keys()) == []


@pytest.mark.parametrize("role", ["parse", "produce", "decide", "keep", "score", "pick", "learn"])
def test_there_are_types_to_hold_to_the_laws(role: str) -> None:
    assert role in LAWS
    assert [name for name, kind in TABLE.items() if role in roles(kind)]


@pytest.mark.parametrize("name", sorted(name for name, kind in TABLE.items() if hasattr(kind, "score")))
def test_nobody_to_score_is_no_trouble(name: str) -> None:
    table = table_of([Gauges(waiting=1.0)] * 3)
    scores = scorer_of(name, table, **parameters_of(name)).score(
        request_with(table), candidates_of(table, [])
    )
    assert scores.dtype == np.float64
    assert scores.shape == (0,)


def scorer_of(name: str, table: EndpointTable, **parameters: Any) -> Scorer:
    plugin = make(TABLE[name], table, **parameters)
    assert isinstance(plugin, Scorer)
    return plugin


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
        ("active-request-scorer", {"idleThreshold": 100, "maxBusyScore": 0.3}, by_fact("requests")),
        ("token-load-scorer", {}, by_fact("tokens")),
        ("token-load-scorer", {"queueThresholdTokens": 1000}, by_fact("cost")),
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
    scorer = scorer_of("prefix-cache-scorer", table, matchLengthWeight=weight)
    scores = scorer.score(request_with(table, match=sorted(match), total=64), candidates_of(table))
    assert (np.diff(scores) >= 0.0).all()
