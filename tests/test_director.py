"""Whatever breaks inside, the request is routed or refused, and the books are settled."""

import gc
import json
import sys
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, Endpoint
from endpoint_picker.core.errors import Internal, Refusal
from endpoint_picker.core.request import Payload, Request, Usage
from endpoint_picker.director import Arrival
from endpoint_picker.exchange import Books, Exchange
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Plugin, UsageReader, Wiring
from tests.fakes.routing import Pool

BODY = json.dumps({"model": "m", "prompt": "a long enough prompt " * 40}).encode()
BEST = "10.0.0.1:8000"
DECODERS = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: decode-filter}]
"""


class Broken(Plugin):
    """A producer and scheduler that always fails."""

    type = "broken"

    def __init__(self) -> None:
        self.name = "broken"

    def produce(self, request: Request, candidates: Candidates) -> None:
        raise ZeroDivisionError

    def learn(self, request: Request, decision: Decision) -> None:
        raise ZeroDivisionError

    def learn_at(self, request: Request, row: int) -> None:
        raise ZeroDivisionError

    def schedule(self, request: Request, candidates: Candidates) -> Decision:
        raise ZeroDivisionError


@pytest.fixture
def pool() -> Pool:
    return Pool(waiting=[0, 5])


def route(pool: Pool, body: bytes | None = BODY, **headers: str) -> Exchange:
    fields = {":path": "/v1/completions"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return pool.director.route(Arrival(fields, pool.now), body)


def test_who_only_fails_serves_where_nobody_else_has_its_role() -> None:
    roles = {"d": "decode", "p": "prefill"}
    places = [
        Endpoint(name, "10.0.0.1", port, labels={"llm-d.ai/role": roles[name]})
        for name, port in (("d", 1), ("p", 2))
    ]
    pool = Pool([0, 0], config=DECODERS, endpoints=places)
    pool.table.ejected_until[0] = pool.now + 60.0
    exchange = route(pool)
    assert exchange.decision is not None
    assert exchange.decision.destination == "10.0.0.1:1"
    exchange.end(complete=False)


def test_a_broken_producer_loses_its_fact_not_the_request(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.rebuild(producers=(Broken(), *pool.producers))
    exchange = route(pool)
    assert exchange.decision is not None
    assert exchange.decision.destination == BEST
    assert "broken" in caplog.text
    exchange.end(complete=False)
    assert pool.open == 0


def test_without_any_facts_requests_are_routed(pool: Pool) -> None:
    pool.rebuild(producers=())
    assert route(pool).decision is not None
    assert (pool.in_flight, pool.prefill_tokens) == (1, 0)


def test_a_defect_is_an_internal_error_that_is_logged_and_counted(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.rebuild(scheduler=Broken())
    with pytest.raises(Internal, match="ZeroDivisionError"):
        route(pool)
    assert "could not be routed" in caplog.text
    assert (pool.open, pool.in_flight) == (0, 0)
    assert pool.sample("llm_d_epp_request_error_total", error_code="Internal") == 1


def test_a_model_that_cannot_be_rewritten_is_the_clients_own(pool: Pool) -> None:
    class Fixed(OpenAI):
        def parse(self, path: str, body: bytes) -> Payload:
            return replace(super().parse(path, body), model_is_fixed=True)

    pool.rebuild(parsers=Registry([Fixed("fixed", None, Wiring(pool.table, pool.metrics))]))
    exchange = route(pool, x_llm_d_model_name_rewrite="other")
    assert exchange.request.target_model == "m"
    assert exchange.take_body() == BODY


def test_a_rewrite_that_fails_leaves_no_reservation(pool: Pool) -> None:
    class Clumsy(OpenAI):
        def rewrite(self, body: bytes, model: str) -> bytes:
            raise ZeroDivisionError

    pool.rebuild(parsers=Registry([Clumsy("clumsy", None, Wiring(pool.table, pool.metrics))]))
    with pytest.raises(Internal):
        route(pool, x_llm_d_model_name_rewrite="other")
    assert (pool.open, pool.in_flight) == (0, 0)


class Blind(OpenAI):
    """A parser that fails on everything."""

    def parse(self, path: str, body: bytes) -> Payload:
        raise ZeroDivisionError

    def usage(self, *, streaming: bool) -> UsageReader:
        raise ZeroDivisionError


class Torn(OpenAI):
    """A parser whose readers fail on everything."""

    def usage(self, *, streaming: bool) -> UsageReader:
        return TornReader()


class TornReader:
    def feed(self, chunk: bytes) -> None:
        raise ZeroDivisionError

    def finish(self) -> Usage:
        raise ZeroDivisionError


@pytest.mark.parametrize("parser", [Blind, Torn])
@pytest.mark.parametrize("chunks", [(b"{}",), ()])
def test_a_broken_parser_loses_what_it_reads_not_the_request(
    pool: Pool, parser: type[OpenAI], chunks: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    pool.rebuild(parsers=Registry([parser("broken", None, Wiring(pool.table, pool.metrics))]))
    exchange = route(pool)
    assert exchange.decision is not None
    assert exchange.take_body() == BODY
    assert exchange.take_body() == b""
    exchange.response_headers({":status": "200"})
    for chunk in chunks:
        exchange.response_chunk(chunk)
    exchange.end(complete=True)
    assert "could not be read" in caplog.text
    failures = pool.sample("llm_d_epp_plugin_failures_total", extension_point="Parser", plugin_name="broken")
    assert failures == (2 if parser is Blind else 1)  # of the body too
    assert (pool.open, pool.in_flight) == (0, 0)
    assert pool.sample("llm_d_epp_request_duration_seconds_count") == 1


def test_the_second_request_with_a_prefix_goes_where_the_first_went(pool: Pool) -> None:
    pool.observe(waiting=[0, 0], kv_usage=[0.0, 0.0])
    first = route(pool).decision
    for _ in range(5):
        again = route(pool).decision
        assert first is not None
        assert again is not None
        assert again.destination == first.destination


def test_the_endpoint_that_served_in_the_end_holds_the_prompt(pool: Pool) -> None:
    assert pool.cached_blocks(BODY, 1) == 0
    exchange = route(pool)
    pool.director.served(exchange, "10.0.0.2:8000")
    assert pool.in_flight_at(1) == 1
    assert pool.cached_blocks(BODY, 1) > 0


def test_a_served_endpoint_that_nobody_knows_changes_nothing(pool: Pool) -> None:
    exchange = route(pool)
    for place in ("9.9.9.9:1", "", BEST):
        pool.director.served(exchange, place)
    assert pool.in_flight_at(0) == 1


def test_the_ledger_charges_what_is_not_cached(pool: Pool) -> None:
    first = route(pool)
    charged = pool.prefill_tokens
    assert charged == -(-len("a long enough prompt " * 40) // 4)
    first.end(complete=True)
    second = route(pool)
    match = second.request.attributes.read(prefix_match())
    assert match is not None
    assert match.blocks[0] == match.total
    assert pool.prefill_tokens < charged


def test_labels_and_objective_are_read_with_the_new_name_first(pool: Pool) -> None:
    request = route(
        pool,
        x_gateway_inference_objective="old",
        x_llm_d_inference_objective="new",
        x_gateway_inference_fairness_id="tenant",
    ).request
    assert (request.objective, request.fairness_id) == ("new", "tenant")
    assert pool.sample("llm_d_epp_request_total", fairness_id="tenant", priority="0") == 1


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({":path": "/a", "x-original-path": "/b"}, "/a"),
        ({"x-original-path": "/b", "x-forwarded-path": "/c"}, "/b"),
        ({"x-forwarded-path": "/c"}, "/c"),
        ({}, "/v1/completions"),
    ],
)
def test_where_the_path_is_looked_for(pool: Pool, headers: dict[str, str], path: str) -> None:
    assert pool.director.route(Arrival(headers, pool.now), None).request.path == path


def test_timings_and_sizes_are_told_once(pool: Pool) -> None:
    exchange = route(pool)
    exchange.response_headers({":status": "200", "content-type": "text/event-stream"})
    for seconds, chunk in ((0.5, b"data: 1\n\n"), (0.25, b"data: 2\n\n")):
        pool.now += seconds
        exchange.response_chunk(chunk)
    pool.now += 0.25
    for _ in range(2):
        exchange.end(complete=True)
    assert pool.sample("llm_d_epp_request_ttft_seconds_sum", streaming="true") == 0.5
    assert pool.sample("llm_d_epp_request_streaming_itl_seconds_sum") == 0.25
    assert pool.sample("llm_d_epp_request_duration_seconds_sum") == 1.0
    assert pool.sample("llm_d_epp_response_size_bytes_sum") == 18


def test_a_late_body_that_cannot_be_read_is_forwarded_as_it_is(pool: Pool) -> None:
    exchange = route(pool, None)
    assert pool.director.learn(exchange, b"{") == b"{"
    assert pool.director.learn(exchange, BODY) == BODY


@pytest.mark.parametrize("late", [False, True])
def test_while_the_response_lasts_nothing_is_kept_that_is_as_long_as_the_prompt(
    pool: Pool, late: bool
) -> None:
    body = json.dumps({"model": "m", "prompt": "a very long prompt " * 50_000}).encode()
    exchange = route(pool, None if late else body)
    if late:
        assert pool.director.learn(exchange, body) == body
    assert len(exchange.take_body()) == (0 if late else len(body))
    assert largest(exchange) < len(body) // 10
    assert pool.cached_blocks(body, 0) > 2_000


def largest(exchange: Exchange) -> int:
    """Bytes of the largest object that only this exchange keeps alive."""
    waiting: list[Any] = [exchange]
    seen, most = set[int](), 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType | Books | Plugin):
            continue
        seen.add(id(each))
        most = max(most, each.nbytes if isinstance(each, np.ndarray) else sys.getsizeof(each))
        waiting += gc.get_referents(each)
        waiting += [each.base] if isinstance(each, np.ndarray) and each.base is not None else []
    return most


def test_refusals_carry_code_text_and_reason() -> None:
    with pytest.raises(Refusal) as caught:
        route(Pool(waiting=[]))
    assert caught.value.body.startswith("inference error: ServiceUnavailable - ")
    assert caught.value.reason == "rejected-no-endpoints"
