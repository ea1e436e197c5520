"""Load in flight and the cost of one more request."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import InFlightLoad, PrefixMatch, TokenizedPrompt, UncachedTokens
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.producers.inflight import InFlight, InFlightParameters


def fleet(count: int, capacity: int = 4) -> EndpointTable:
    table = EndpointTable(capacity=capacity)
    table.replace(Endpoint(f"pod-{i}", f"10.0.0.{i}", 8000) for i in range(count))
    return table


def produce(
    table: EndpointTable,
    parameters: InFlightParameters,
    *,
    tokens: int | None = None,
    match: PrefixMatch | None = None,
    limit: int | None = None,
) -> tuple[InFlightLoad, UncachedTokens]:
    producer = InFlight("mine", parameters, Wiring(table, Metrics()))
    request = Request("1", {}, "/", 0.0, payload=Payload(model="m", max_output_tokens=limit))
    if tokens is not None:
        prompt = TokenizedPrompt((np.zeros(tokens, np.uint32),), tokens)
        request.attributes.write(attributes.tokenized_prompt(), prompt)
    if match is not None:
        key = attributes.prefix_match(parameters.prefix_match_info_producer_name)
        request.attributes.write(key, match)
    producer.produce(request, table.candidates(0.0))
    load = request.attributes.read(attributes.in_flight_load("mine"))
    cost = request.attributes.read(attributes.uncached_tokens("mine"))
    assert load is not None
    assert cost is not None
    return load, cost


def prompt_tokens(cost: UncachedTokens, capacity: int = 4) -> list[int]:
    """What the prompt costs on each row, which is the same row by row and for all at once."""
    each = [cost.at(row) for row in range(capacity)]
    assert cost.on(np.arange(capacity)).tolist() == each
    return each


def match_of(*blocks: int, total: int, size: int = 64) -> PrefixMatch:
    return PrefixMatch(np.array(blocks, np.int64), total, size)


def test_blocks_that_are_held_cost_nothing() -> None:
    _, cost = produce(fleet(4), InFlightParameters(), tokens=256, match=match_of(0, 1, 4, 9, total=4))
    assert prompt_tokens(cost) == [256, 192, 0, 0]
    assert cost.output == 0


def test_tokens_beyond_the_blocks_that_were_looked_at_count_for_everybody() -> None:
    _, cost = produce(fleet(2, 2), InFlightParameters(), tokens=1000, match=match_of(0, 2, total=2))
    assert prompt_tokens(cost, 2) == [1000, 872]


def test_the_match_of_the_named_producer_is_read() -> None:
    parameters = InFlightParameters(prefix_match_info_producer_name="precise")
    _, cost = produce(fleet(1, 1), parameters, tokens=64, match=match_of(1, total=1))
    assert prompt_tokens(cost, 1) == [0]
    keys = InFlight("mine", parameters, Wiring(fleet(1), Metrics())).reads()
    assert keys == (attributes.prefix_match("precise"), attributes.tokenized_prompt())


@pytest.mark.parametrize("tokens", [None, 0, 70])
def test_without_a_match_the_whole_prompt_counts(tokens: int | None) -> None:
    _, cost = produce(fleet(3), InFlightParameters(), tokens=tokens)
    assert prompt_tokens(cost) == [tokens or 0] * 4


def test_rows_that_the_match_does_not_know_hold_nothing() -> None:
    table = fleet(2, capacity=2)
    match = match_of(3, 1, total=3)
    table.replace(Endpoint(f"pod-{i}", f"10.0.0.{i}", 8000) for i in range(3))
    _, cost = produce(table, InFlightParameters(), tokens=192, match=match)
    assert prompt_tokens(cost) == [0, 128, 192, 192]


@given(
    st.integers(0, 5000),
    st.lists(st.integers(0, 50), min_size=4, max_size=4),
    st.integers(0, 40),
    st.sampled_from([64, 100]),
)
@settings(max_examples=100, deadline=None)
def test_the_cost_follows_the_formula(tokens: int, blocks: list[int], total: int, size: int) -> None:
    match = match_of(*blocks, total=total, size=size)
    _, cost = produce(fleet(4), InFlightParameters(), tokens=tokens, match=match)
    expected = [max(0, (total - held) * size) + max(0, tokens - total * size) for held in blocks]
    assert prompt_tokens(cost) == [min(each, tokens) for each in expected]


@pytest.mark.parametrize(
    ("limit", "cap", "expected"),
    [
        (None, None, 152),
        (10, None, 10),
        (None, 20, 20),
        (10, 20, 10),
        (1000, 500, 152),
        (None, 0, 0),
        (-5, None, 0),
    ],
)
def test_the_output_is_a_share_of_the_prompt_within_its_caps(
    limit: int | None, cap: int | None, expected: int
) -> None:
    parameters = InFlightParameters(add_estimated_output_tokens=True, max_estimated_output_tokens=cap)
    _, cost = produce(fleet(1), parameters, tokens=101, limit=limit)
    assert cost.output == expected


def test_tokens_weigh_until_the_first_one_comes_or_with_output_until_the_end() -> None:
    table = fleet(2)
    reservation = Ledger(table).reserve(1, prefill_tokens=100, output_tokens=30)
    without, _ = produce(table, InFlightParameters())
    with_output, _ = produce(table, InFlightParameters(add_estimated_output_tokens=True))
    assert without.requests.tolist() == [0, 1, 0, 0]
    assert without.tokens.tolist() == [0, 100, 0, 0]
    assert with_output.tokens.tolist() == [0, 130, 0, 0]
    reservation.first_token()
    assert produce(table, InFlightParameters())[0].tokens.tolist() == [0, 0, 0, 0]
    later, _ = produce(table, InFlightParameters(add_estimated_output_tokens=True))
    assert later.tokens.tolist() == [0, 130, 0, 0]
    # What was written for a request is that moment's load, whatever comes after.
    assert without.tokens.tolist() == [0, 100, 0, 0]


def test_a_pool_without_endpoints_has_facts_too() -> None:
    load, cost = produce(fleet(0), InFlightParameters(), tokens=10)
    assert load.requests.tolist() == [0] * 4
    assert prompt_tokens(cost) == [10] * 4


@pytest.mark.parametrize(
    ("key", "value"),
    [("outputRatio", -0.1), ("outputRatio", float("nan")), ("maxEstimatedOutputTokens", -1)],
)
def test_values_without_a_meaning_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{key} is "):
        msgspec.convert({key: value}, InFlightParameters)
    assert msgspec.convert({"syncCrossReplicaState": False}, InFlightParameters).output_ratio == 1.5
