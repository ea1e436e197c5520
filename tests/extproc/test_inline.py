"""Inline prefill: the conversation with a gateway while a real server computes the prompt, or fails to."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import grpc
import msgspec
import pytest

from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.request import Request
from endpoint_picker.extproc.messages import HeadersReply, Piece, Side
from endpoint_picker.plugin import Plugin
from tests.fakes.gateway import HEADERS, Talk, gateway, set_headers
from tests.fakes.playbook import Playbook, piece, request_body, request_headers, response_headers, routed
from tests.fakes.prefiller import PARAMS, Prefiller, prefillers
from tests.fakes.routing import Pool
from tests.fakes.serving import serving

CONFIG: Final = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: disagg-profile-handler
  parameters:
    deciders: {prefill: always-disagg-pd-decider}
    disaggregation: inline
    inline: {timeout: TIMEOUT, maxConcurrentPerEndpoint: 2}
- type: always-disagg-pd-decider
- type: prefill-filter
- type: decode-filter
- type: queue-scorer
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
"""
DECODE: Final = "10.0.0.9:8000"
LONG: Final = "once upon a time " * 40
BODY: Final = b'{"model":"tiny", "prompt":"%s","max_tokens":64,  "x":1.50}' % LONG.encode()
FILLED: Final = (
    b'{"model":"tiny","prompt":"%s","max_tokens":64,"x":1.50,"kv_transfer_params":' % LONG.encode()
    + PARAMS.encode()
    + b"}"
)


@dataclass
class Scene:
    """A gateway that talks to the picker of a pool of two prefill replicas and one that decodes."""

    talk: Talk
    pool: Pool
    first: Prefiller
    second: Prefiller

    def outcomes(self, outcome: str) -> float:
        return self.pool.sample("llm_d_epp_inline_prefill_seconds_count", outcome=outcome) or 0.0

    @property
    def books(self) -> list[tuple[int, int]]:
        """Requests in flight and outstanding prefill tokens of the first, the second and who decodes."""
        table = self.pool.table
        return [(int(table.in_flight[row]), int(table.prefill_tokens[row])) for row in range(3)]

    async def settled(self) -> None:
        """Nothing is in flight any more."""
        async with asyncio.timeout(5.0):
            while self.pool.open or len(self.pool.prefills):
                await asyncio.sleep(0.005)
        live = self.pool.table.live  # a row that is free is written anew for whom it is given to
        assert all(self.books[row] == (0, 0) for row in live)

    async def forwarded(self) -> bytes:
        """The answer names who decodes, and is followed by a body, which this is."""
        assert await self.talk.routed() == DECODE
        return await self.talk.body("request")


@asynccontextmanager
async def scene(transport: str, timeout: str = "20s", **changes: Any) -> AsyncIterator[Scene]:
    async with prefillers("p1", "p2") as (first, second):
        decode = Endpoint("d", "10.0.0.9", 8000, labels={"llm-d.ai/role": "decode"})
        pool = Pool(
            [0.0, 9.0, 0.0],
            config=CONFIG.replace("TIMEOUT", timeout),
            endpoints=[first.endpoint(), second.endpoint(), decode],
        )
        pool.rebuild(**changes)
        async with serving(transport, pool) as address, gateway(address) as client:
            async with client.talk() as talk:
                here = Scene(talk, pool, first, second)
                yield here
            await here.settled()


# === the prompt is computed ===


async def test_the_prompt_goes_to_the_prefill_replica_and_its_answer_into_the_request(transport: str) -> None:
    async with scene(transport) as here:
        fields = {**HEADERS, "authorization": "Bearer x", "content-length": str(len(BODY)), "te": "trailers"}
        await here.talk.request_headers({**fields, "x-prefiller-host-port": "evil:1"})
        await here.talk.request_body(BODY)
        reply = await here.talk.reply()
        headers = reply.request_headers.response.header_mutation
        assert set_headers(headers)["content-length"] == str(len(FILLED))
        assert "x-prefiller-host-port" in headers.remove_headers
        assert await here.talk.body("request") == FILLED

        asked = json.loads(here.first.bodies[0])
        assert asked["prompt"] == LONG
        assert (asked["max_tokens"], asked["stream"]) == (1, False)
        assert asked["kv_transfer_params"]["do_remote_decode"] is True
        assert here.first.paths == ["/v1/completions"]
        got = here.first.headers[0]
        assert [value for name, value in got if name == "x-request-id"] == ["test-request-id"]
        assert ("authorization", "Bearer x") in got
        assert not {"x-prefiller-host-port", "te", ":path", "hi2"} & {name for name, _ in got}
        assert here.second.bodies == []
        assert here.outcomes("computed") == 1


async def test_both_endpoints_are_charged_and_each_is_let_go_when_it_is_done(transport: str) -> None:
    async with scene(transport) as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.first.asked()
        (requests, tokens), nobody, decoding = here.books
        assert (requests, nobody, decoding) == (1, (0, 0), (1, 0))
        assert tokens > 100
        here.first.go.set()
        assert await here.forwarded() == FILLED
        assert here.books == [(0, 0), (0, 0), (1, 0)]


async def test_nothing_is_answered_meanwhile(transport: str) -> None:
    async with scene(transport) as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.talk.quiet()
        here.first.go.set()
        assert await here.forwarded() == FILLED


async def test_trailers_follow_the_filled_body(transport: str) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers()
        await here.talk.request_body(BODY, end=False)
        await here.talk.request_trailers()
        assert await here.talk.routed() == DECODE
        body = (await here.talk.reply()).request_body.response.body_mutation.streamed_response
        assert (body.body, body.end_of_stream) == (FILLED, False)
        assert (await here.talk.reply()).WhichOneof("response") == "request_trailers"


async def test_a_buffered_body_is_replaced_whole(transport: str) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers(modes=("BUFFERED", "BUFFERED"))
        assert (await here.talk.reply()).WhichOneof("response") == "request_headers"
        await here.talk.request_body(BODY)
        answer = (await here.talk.reply()).request_body.response
        assert answer.body_mutation.body == FILLED
        assert set_headers(answer.header_mutation)["x-gateway-destination-endpoint"] == DECODE


async def test_a_large_body_goes_on_in_pieces(transport: str) -> None:
    async with scene(transport) as here:
        large = json.dumps({"model": "tiny", "prompt": "word " * 60_000}).encode()
        await here.talk.request_headers()
        await here.talk.request_body(large)
        whole = await here.forwarded()
        assert json.loads(whole) == {**json.loads(large), "kv_transfer_params": json.loads(PARAMS)}


# === it is not ===


def refuses(status: int) -> Callable[[Prefiller], None]:
    return lambda server: setattr(server, "status", status)


def says(params: str) -> Callable[[Prefiller], None]:
    return lambda server: setattr(server, "params", params)


def breaks(server: Prefiller) -> None:
    server.breaks = True


@pytest.mark.parametrize("fails", [refuses(500), refuses(503), breaks, says("{")])
async def test_where_the_first_fails_the_second_computes(
    transport: str, fails: Callable[[Prefiller], None]
) -> None:
    async with scene(transport) as here:
        fails(here.first)
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        assert await here.forwarded() == FILLED
        assert len(here.second.bodies) == 1
        assert here.second.bodies == here.first.bodies
        assert here.pool.table.failures[0] == 1
        assert here.outcomes("computed") == 1


@pytest.mark.parametrize(
    ("fails", "outcome", "tried"),
    [
        pytest.param(refuses(500), "failed", 2, id="fails"),
        pytest.param(breaks, "failed", 2, id="breaks off"),
        pytest.param(refuses(400), "refused", 1, id="refuses"),
        pytest.param(refuses(302), "refused", 1, id="sends elsewhere"),
        pytest.param(says("null"), "no_params", 1, id="has no connector"),
        pytest.param(says("[1]"), "no_params", 1, id="says something else"),
    ],
)
async def test_where_nobody_computes_it_the_request_goes_on_as_it_came(
    transport: str, fails: Callable[[Prefiller], None], outcome: str, tried: int
) -> None:
    async with scene(transport) as here:
        fails(here.first)
        fails(here.second)
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        assert await here.forwarded() == BODY
        assert len(here.first.bodies) + len(here.second.bodies) == tried
        assert here.outcomes(outcome) == 1
        # Who decodes has to compute the prompt now, and that is in the books until its first token.
        first, second, (requests, tokens) = here.books
        assert (first, second, requests) == ((0, 0), (0, 0), 1)
        assert tokens > 100
        await here.talk.response_headers()
        await here.talk.response_body(b"{}", end=True)
        assert await here.talk.reply()


async def test_time_is_limited(transport: str) -> None:
    async with scene(transport, timeout="100ms") as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        assert await here.forwarded() == BODY
        assert here.outcomes("timeout") == 1
        assert here.pool.table.failures[0] == 1
        assert here.second.bodies == []


async def test_an_endpoint_that_is_busy_is_passed_over(transport: str) -> None:
    async with prefillers("p1", "p2") as (first, second):
        decode = Endpoint("d", "10.0.0.9", 8000, labels={"llm-d.ai/role": "decode"})
        pool = Pool(
            [0.0, 9.0, 0.0],
            config=CONFIG.replace("TIMEOUT", "20s"),
            endpoints=[first.endpoint(), second.endpoint(), decode],
        )
        first.go.clear()
        second.go.clear()
        async with serving(transport, pool) as address, gateway(address) as client:
            talks: list[Talk] = []
            async with client.talk() as a, client.talk() as b, client.talk() as c:
                for talk, server, times in ((a, first, 1), (b, first, 2), (c, second, 1)):
                    await talk.request_headers()
                    await talk.request_body(BODY)
                    await server.asked(times)
                    talks.append(talk)
                second.go.set()
                first.go.set()
                for talk in talks:
                    assert await talk.routed() == DECODE
                    assert await talk.body("request") == FILLED


@pytest.mark.parametrize(
    "fields",
    [{"prompt": ["a", "b"]}, {"n": 2}, {"best_of": 3}],
    ids=["several prompts", "several answers", "the best of several"],
)
async def test_what_cannot_be_split_is_decoded_plainly(transport: str, fields: dict[str, Any]) -> None:
    async with scene(transport) as here:
        body = json.dumps({"model": "tiny", "prompt": LONG, **fields}).encode()
        assert await here.talk.route(body) == DECODE
        assert here.first.bodies == []
        assert here.books[0] == (0, 0)
        assert here.outcomes("unsplit") == 1


async def test_what_has_no_body_is_decoded_plainly(transport: str) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers({**HEADERS, ":method": "GET", ":path": "/v1/models"}, end=True)
        assert await here.talk.routed() == DECODE
        assert here.first.bodies == []


# === somebody leaves ===


async def test_a_client_that_leaves_ends_the_prefill(transport: str) -> None:
    async with scene(transport) as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.first.asked()
        here.talk.call.cancel()
        await here.settled()
        async with asyncio.timeout(5.0):
            while not here.first.left:
                await asyncio.sleep(0.005)
        assert here.outcomes("client_left") == 1
        assert here.second.bodies == []


async def test_an_endpoint_that_leaves_the_pool_keeps_nothing_in_the_books(transport: str) -> None:
    async with scene(transport) as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.first.asked()
        here.pool.table.replace(list(here.pool.table)[1:])
        here.first.status = 500
        here.first.go.set()
        assert await here.forwarded() == FILLED
        assert len(here.second.bodies) == 1


async def test_an_answer_of_the_gateway_itself_ends_the_prefill() -> None:
    """Over the own transport alone: grpcio's shell reads nothing while a call waits."""
    async with scene("http2") as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.first.asked()
        await here.talk.response_headers({":status": "504"}, end=True)
        assert (await here.talk.reply()).WhichOneof("response") == "response_headers"
        async with asyncio.timeout(5.0):
            while not here.first.left:
                await asyncio.sleep(0.005)


# === what clients write is no fault of the endpoints ===


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("Zoë", ["Zoë"]),
        ("a\tb", ["a\tb"]),
        ("a\x01b", []),
        ("a\r\nx-evil: b", []),
    ],
)
async def test_header_values_arrive_as_they_came_or_not_at_all(
    transport: str, written: str, sent: list[str]
) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers({**HEADERS, "x-name": written})
        await here.talk.request_body(BODY)
        assert await here.forwarded() == FILLED
        assert [value for name, value in here.first.headers[0] if name == "x-name"] == sent
        assert not [value for name, value in here.first.headers[0] if name == "x-evil"]
        assert here.pool.table.failures[0] == 0


async def test_a_request_id_that_cannot_be_sent_costs_nothing(transport: str) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers({**HEADERS, "x-request-id": "a\x01b"})
        await here.talk.request_body(BODY)
        assert await here.forwarded() == FILLED


@pytest.mark.parametrize("path", ["@127.0.0.1:1/v1/completions", "x/v1/completions", "//evil/v1/completions"])
async def test_a_path_names_no_host(transport: str, path: str) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers({**HEADERS, ":path": path})
        await here.talk.request_body(BODY)
        forwarded = await here.forwarded()
        assert forwarded == (FILLED if path.startswith("/") else BODY)
        assert here.first.paths == ([path] if path.startswith("/") else [])
        assert list(here.pool.table.failures[:2]) == [0, 0]


async def test_answers_are_asked_for_unpacked(transport: str) -> None:
    async with scene(transport) as here:
        await here.talk.request_headers({**HEADERS, "accept-encoding": "gzip"})
        await here.talk.request_body(BODY)
        assert await here.forwarded() == FILLED
        assert [value for name, value in here.first.headers[0] if name == "accept-encoding"] == ["identity"]


async def test_a_packed_answer_is_not_unpacked(transport: str) -> None:
    async with scene(transport) as here:
        here.first.packs = True
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        assert await here.forwarded() == FILLED
        assert len(here.second.bodies) == 1


async def test_a_replica_that_takes_no_more_is_passed_over(transport: str) -> None:
    async with scene(transport) as here:
        here.first.status = 429
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        assert await here.forwarded() == FILLED
        assert len(here.second.bodies) == 1
        assert here.pool.table.failures[0] == 0


# === the pool changes meanwhile ===


async def test_an_endpoint_that_has_moved_is_neither_asked_nor_blamed(transport: str) -> None:
    async with scene(transport) as here:
        here.first.go.clear()
        here.first.status = 500
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.first.asked()
        moved = [
            replace(each, port=9 if each.name.startswith("p") else each.port) for each in here.pool.table
        ]
        here.pool.table.replace(moved)
        here.first.go.set()
        assert await here.forwarded() == BODY
        assert here.second.bodies == []
        assert list(here.pool.table.failures[:2]) == [0, 0]
        assert here.outcomes("failed") == 1


async def test_scores_of_endpoints_that_have_left_are_those_of_the_pick(transport: str) -> None:
    async with scene(transport, emit_scores=True) as here:
        here.first.go.clear()
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        await here.first.asked()
        here.pool.table.replace([here.first.endpoint()])
        here.first.go.set()
        assert await here.forwarded() == FILLED


# === what waits, and what it holds ===


async def test_an_answer_that_cannot_be_written_ends_the_call(transport: str) -> None:
    class Breaks(Plugin):
        type = "breaks"

        def learn(self, request: Request, decision: Decision) -> None:
            request.fields["x-number"] = 7  # type: ignore[assignment]

        def learn_at(self, request: Request, row: int) -> None:
            pass

    async with scene(transport, plugins=(Breaks.__new__(Breaks),)) as here:
        await here.talk.request_headers()
        await here.talk.request_body(BODY)
        assert await here.talk.call.code() is grpc.StatusCode.INTERNAL


def waiting(others: int = 0) -> tuple[Pool, Playbook]:
    """A conversation that has to wait; `others` take so many bytes."""
    roles = {"p": "prefill", "d": "decode"}
    endpoints = [
        Endpoint(name, f"10.0.0.{number}", 8000, labels={"llm-d.ai/role": role})
        for number, (name, role) in enumerate(roles.items())
    ]
    pool = Pool([0.0, 0.0], config=CONFIG.replace("TIMEOUT", "20s"), endpoints=endpoints)
    stream = pool.stream(limit=1 << 20)
    pool.room.take(others)
    return pool, Playbook(stream) >> request_headers() >> request_body(BODY)


def test_what_waits_is_counted_as_held_until_it_goes_on() -> None:
    pool, book = waiting()
    assert pool.room.held > 2 * len(BODY)
    assert book.stream.waiting is not None
    book.stream.waiting.computed(msgspec.Raw(PARAMS.encode()))
    headers, body = book.stream.resume()
    assert isinstance(headers, HeadersReply)
    assert isinstance(body, Piece)
    assert body.data == FILLED
    assert pool.room.held == 0
    assert book.stream.waiting is None


def test_without_room_to_wait_in_the_request_goes_on_at_once() -> None:
    others = (16 << 20) - len(BODY) - 100
    pool, book = waiting(others)
    book << routed("10.0.0.1:8000") << piece(Side.REQUEST, BODY, end=True)
    assert book.stream.waiting is None
    assert pool.room.held == others
    assert list(pool.table.in_flight[:2]) == [0, 1]
    assert pool.prefill_tokens > 0


def test_an_answer_of_the_gateway_itself_leaves_nothing_held() -> None:
    pool, book = waiting()
    exchange = book.stream.waiting
    assert exchange is not None
    book >> response_headers(status=504)
    assert (book.stream.waiting, pool.room.held, exchange.order, exchange.take_body()) == (None, 0, None, b"")
    assert list(pool.table.in_flight[:2]) == [0, 1]
    book.stream.close()
    assert pool.open == 0


def test_a_conversation_that_breaks_off_while_it_waits_leaves_nothing_held() -> None:
    pool, book = waiting()
    book.stream.close()
    assert (book.stream.waiting, pool.room.held, pool.open) == (None, 0, 0)
    assert book.stream.resume() == []
