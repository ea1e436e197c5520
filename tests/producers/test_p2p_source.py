"""Who a prompt's cache may be pulled from."""

import pytest

from endpoint_picker.core import wire
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.producers.p2p_source import P2PSource
from endpoint_picker.testing import make, request_with, table_of


def result(table: EndpointTable, row: int) -> ProfileResult:
    return ProfileResult("p", (row,), (table[row],), table.live, table.kv_usage[table.live])


def source(held: list[int], picked: int, *, prefill: int | None = None, **parameters: int) -> str | None:
    """The header after a pick; `held` are blocks of 64 tokens, of ten."""
    table = table_of([Gauges(waiting=0.0)] * len(held))
    request = request_with(table, match=held, total=10)
    primary = result(table, picked)
    results = {"decode": primary} | ({} if prefill is None else {"prefill": result(table, prefill)})
    make(P2PSource, table, **parameters).learn(request, Decision(primary, results))
    return request.fields.get(wire.KV_SOURCE)


def test_who_holds_the_most_is_named() -> None:
    # 8 blocks of 64 tokens there, none here.
    assert source([0, 8, 3], picked=0) == "10.0.0.1:8000"


def test_nobody_is_named_where_the_computing_endpoint_holds_as_much() -> None:
    assert source([8, 8, 3], picked=0) is None
    assert source([0, 0, 0], picked=0) is None


@pytest.mark.parametrize(("delta", "named"), [(128, True), (129, False)])
def test_it_must_hold_so_many_tokens_more(delta: int, named: bool) -> None:
    # 8 blocks less 6 are 128 tokens.
    assert (source([6, 8], picked=0, minCachedTokenDelta=delta) is not None) == named


def test_with_prefill_elsewhere_that_endpoint_computes() -> None:
    assert source([0, 8, 8], picked=0, prefill=1) is None
    assert source([8, 0, 0], picked=0, prefill=1) == "10.0.0.0:8000"


@pytest.mark.parametrize("computing", [1, 2])
def test_the_profile_handler_knows_who_computes_whatever_the_profile_is_named(computing: int) -> None:
    table = table_of([Gauges(waiting=0.0)] * 3)
    request = request_with(table, match=[0, 8, 0], total=10)
    primary, prefill = result(table, 0), result(table, computing)
    decision = Decision(primary, {"decode": primary, "long": prefill}, prefill=prefill)
    make(P2PSource, table).learn(request, decision)
    assert request.fields == ({} if computing == 1 else {wire.KV_SOURCE: "10.0.0.1:8000"})


def test_of_those_that_hold_about_the_most_the_less_busy_is_likelier() -> None:
    table = table_of([Gauges(waiting=0.0), Gauges(waiting=0.0), Gauges(waiting=9.0), Gauges(waiting=0.0)])
    counts = dict.fromkeys(range(4), 0)
    plugin = make(P2PSource, table)
    for number in range(600):
        request = request_with(table, match=[0, 8, 7, 6], total=10)
        request.id = f"r-{number}"
        primary = result(table, 0)
        plugin.learn(request, Decision(primary, {"decode": primary}))
        counts[int(request.fields[wire.KV_SOURCE].split(":")[0].rpartition(".")[2])] += 1
    # Weights 1 and 1/10; the last one holds two blocks less than the most.
    assert counts[0] == counts[3] == 0
    assert 480 < counts[1] < 600 - 20


def test_without_a_match_nobody_is_named() -> None:
    table = table_of([Gauges()])
    request = Request("r", {}, "/", 0.0)
    primary = result(table, 0)
    make(P2PSource, table).learn(request, Decision(primary, {"decode": primary}))
    assert request.fields == {}


def test_a_delta_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="minCachedTokenDelta is 0"):
        make(P2PSource, table_of([Gauges()]), minCachedTokenDelta=0)
