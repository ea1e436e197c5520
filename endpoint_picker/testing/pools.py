"""Pools and requests made by hand: a table with gauges and labels, facts by row, a plugin on top."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import (
    Counts,
    InFlightLoad,
    PrefixMatch,
    UncachedTokens,
    in_flight_load,
    prefix_match,
    uncached_tokens,
)
from endpoint_picker.core.endpoints import Candidates, Endpoint, EndpointTable, Gauges
from endpoint_picker.core.request import Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Plugin, Wiring

P = TypeVar("P", bound=Plugin)

NOW: Final = 100.0
"""The time of everything here: readings are of now, and so are requests."""


def endpoint(index: int, labels: Mapping[str, str] | None = None) -> Endpoint:
    """The endpoint `pod-<index>`."""
    return Endpoint(f"pod-{index}", f"10.0.{index >> 8}.{index & 255}", 8000, labels=dict(labels or {}))


def table_of(gauges: Sequence[Gauges] = (), labels: Sequence[Mapping[str, str]] = ()) -> EndpointTable:
    """A table with one endpoint for each reading (or each label set), all read just now."""
    table = EndpointTable(capacity=4)
    count = max(len(gauges), len(labels))
    table.replace(endpoint(i, labels[i] if i < len(labels) else None) for i in range(count))
    for row, reading in enumerate(gauges):
        table.observe(row, reading, NOW)
    return table


def wiring_of(table: EndpointTable, seed: int = 1, metrics: Metrics | None = None) -> Wiring:
    """What the composition root would hand to a plugin, with a clock that stands and a seeded generator."""
    return Wiring(table, metrics or Metrics(), random.Random(seed), lambda: NOW)


def make(kind: type[P], table: EndpointTable, /, **parameters: Any) -> P:
    """An instance, named like its type; parameters as they are written in a configuration file."""
    block = PluginBlock(type=kind.type, name=kind.type, parameters=parameters)
    return kind(
        kind.type, load.parameters(block, kind.schema, source="the test's parameters"), wiring_of(table)
    )


def candidates_of(table: EndpointTable, rows: Sequence[int] | None = None) -> Candidates:
    """These rows, in this order, or all."""
    return Candidates(table, table.live if rows is None else np.array(rows, np.int64), NOW)


def request_with(
    table: EndpointTable,
    *,
    model: str = "m",
    headers: Mapping[str, str] | None = None,
    match: Sequence[int] | None = None,
    total: int = 10,
    block_size: int = 64,
    requests: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    cost: Sequence[int] | None = None,
    output: int = 0,
) -> Request:
    """A request with these facts about the first rows, written by the producers of default names.

    `match` are cached blocks of `total`; `requests` and `tokens` what is in flight; `cost` the tokens
    that the request would add, and `output` those of its answer.
    """
    request = Request("r-1", headers or {}, "/v1/completions", NOW, target_model=model)
    facts = request.attributes
    if match is not None:
        facts.write(prefix_match(), PrefixMatch(by_row(table, match), total, block_size))
    if requests is not None or tokens is not None:
        in_flight = InFlightLoad(by_row(table, requests or ()), by_row(table, tokens or ()))
        facts.write(in_flight_load(), in_flight)
    if cost is not None:
        # Blocks of one token, of which each endpoint holds all but its cost.
        most = max(cost)
        held = PrefixMatch(most - by_row(table, cost), most, 1)
        facts.write(uncached_tokens(), UncachedTokens(most, held, output))
    return request


def by_row(table: EndpointTable, values: Sequence[int]) -> Counts:
    """These values for the first rows, 0 for the others; shape (capacity,)."""
    column = np.zeros(table.capacity, np.int64)
    column[: len(values)] = values
    return column
