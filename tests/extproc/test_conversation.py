"""The conversation over real gRPC, each item of it once, as a gateway holds it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest

from tests.fakes.gateway import HEADERS, Gateway, Talk, common, destination, gateway, set_headers
from tests.fakes.routing import Pool
from tests.fakes.serving import serving

PROMPT = json.dumps({"model": "my-model", "prompt": "test6", "max_tokens": 100, "temperature": 0}).encode()
ANSWER = b'{"model":"my-model","usage":{"prompt_tokens":7,"total_tokens":17,"completion_tokens":10}}'
BEST = "10.0.0.1:8000"
LIMIT = 1 << 20
FULL = ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED")


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(waiting=[0, 5, 9], kv_usage=[0.1, 0.5, 0.9])
    yield pool
    assert (pool.in_flight, pool.open) == (0, 0)


@pytest.fixture
async def picker(transport: str, pool: Pool) -> AsyncIterator[Gateway]:
    async with serving(transport, pool, limit=LIMIT) as address, gateway(address) as client:
        yield client


@pytest.fixture
async def talk(picker: Gateway) -> AsyncIterator[Talk]:
    async with picker.talk() as talk:
        yield talk


async def settled(pool: Pool) -> None:
    """Until the picker has noticed that a conversation broke off."""
    for _ in range(200):
        if pool.open == 0:
            return
        await asyncio.sleep(0.02)


# === request, full duplex ===


@pytest.mark.parametrize("modes", [FULL, None])
async def test_headers_wait_for_the_body(talk: Talk, modes: tuple[str, str] | None) -> None:
    await talk.request_headers(modes=modes)
    await talk.quiet()
    await talk.request_body(PROMPT[:9], end=False)
    await talk.quiet()
    await talk.request_body(PROMPT[9:])
    assert await talk.routed() == BEST
    assert await talk.body("request") == PROMPT


async def test_a_request_without_a_body(talk: Talk) -> None:
    await talk.request_headers({":method": "GET", ":path": "/v1/models"}, end=True)
    reply = await talk.reply()
    assert destination(reply) == BEST
    assert len(set_headers(common(reply).header_mutation)["x-request-id"]) == 36


async def test_request_trailers_end_the_body(talk: Talk) -> None:
    await talk.request_headers()
    await talk.request_body(PROMPT, end=False)
    await talk.request_trailers()
    assert await talk.routed() == BEST
    streamed = (await talk.reply()).request_body.response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (PROMPT, False)
    assert (await talk.reply()).WhichOneof("response") == "request_trailers"


async def test_a_large_body_comes_back_in_pieces(talk: Talk) -> None:
    body = json.dumps({"model": "m", "prompt": "x" * 500_000}).encode()
    assert await talk.route(body) == BEST


async def test_only_changed_headers_are_sent_and_control_headers_removed(talk: Talk) -> None:
    spoofed = {"x-prefiller-host-port": "6.6.6.6:1", "x-encoder-hosts-ports": "6.6.6.6:1"}
    await talk.request_headers(HEADERS | spoofed)
    await talk.request_body(PROMPT)
    mutation = common(await talk.reply()).header_mutation
    assert set_headers(mutation) == {"x-gateway-destination-endpoint": BEST}
    assert set(mutation.remove_headers) == spoofed.keys()


async def test_the_body_is_serialised_anew_only_when_the_model_changes(talk: Talk) -> None:
    odd = b'{ "model" : "my-model", "n": 1.00000000000000000001, "prompt": "\\u00e9" }'
    await talk.request_headers(HEADERS | {"x-llm-d-model-name-rewrite": "other"})
    await talk.request_body(odd)
    assert await talk.routed() == BEST
    sent = await talk.body("request")
    assert json.loads(sent)["model"] == "other"
    assert b"1.00000000000000000001" in sent
    assert b"\\u00e9" in sent
    await talk.response_headers()
    await talk.reply()
    await talk.response_body(ANSWER.replace(b"my-model", b"other"), end=True)
    assert await talk.body("response") == ANSWER


async def test_a_websocket_upgrade_passes_both_ways(talk: Talk) -> None:
    await talk.request_headers(HEADERS | {"upgrade": "websocket", "connection": "upgrade"})
    assert await talk.routed() == BEST
    await talk.request_body(b"ping", end=False)
    assert (await talk.reply()).request_body.response.body_mutation.streamed_response.body == b"ping"
    await talk.response_headers({":status": "101"})
    await talk.reply()
    await talk.response_body(b"pong")
    assert (await talk.reply()).response_body.response.body_mutation.streamed_response.body == b"pong"


# === request, lock step ===


async def test_buffered(talk: Talk) -> None:
    await talk.request_headers(modes=("BUFFERED", "BUFFERED"))
    first = await talk.reply()
    assert not first.request_headers.response.HasField("header_mutation")
    await talk.request_body(PROMPT)
    reply = await talk.reply()
    assert destination(reply) == BEST
    assert not reply.request_body.response.HasField("body_mutation")
    await talk.response_headers()
    await talk.reply()
    await talk.response_body(ANSWER, end=True)
    assert not (await talk.reply()).response_body.response.HasField("body_mutation")


async def test_streamed(talk: Talk) -> None:
    await talk.request_headers(modes=("STREAMED", "STREAMED"))
    assert await talk.routed() == BEST
    for part, end in ((PROMPT[:9], False), (PROMPT[9:], True)):
        await talk.request_body(part, end=end)
        assert not (await talk.reply()).request_body.response.HasField("body_mutation")
    await talk.response_headers({":status": "200", "content-type": "text/event-stream"})
    await talk.reply()
    await talk.response_body(b"data: {}\n\n")
    assert not (await talk.reply()).response_body.response.HasField("body_mutation")


async def test_none(talk: Talk, pool: Pool) -> None:
    await talk.request_headers(modes=("NONE", "NONE"))
    assert await talk.routed() == BEST
    await talk.response_headers()
    await talk.reply()
    assert pool.open == 1
    await talk.call.done_writing()
    assert await talk.reply() is None
    assert pool.open == 0


@pytest.mark.parametrize("modes", [("BUFFERED_PARTIAL", "NONE"), ("NONE", "BUFFERED_PARTIAL")])
async def test_buffered_partial_is_refused_in_words(talk: Talk, modes: tuple[str, str]) -> None:
    await talk.request_headers(modes=modes)
    status, body, _ = await talk.refusal()
    assert status == 500
    assert "BUFFERED_PARTIAL" in body


# === response ===


async def test_a_json_response_in_two_parts_is_one_message(talk: Talk) -> None:
    await talk.route(PROMPT)
    await talk.response_headers()
    mutation = common(await talk.reply()).header_mutation
    assert set_headers(mutation) == {"x-went-into-resp-headers": "true"}
    await talk.response_body(ANSWER[:30])
    await talk.response_body(ANSWER[30:], end=True)
    streamed = (await talk.reply()).response_body.response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (ANSWER, True)


async def test_server_sent_events_are_answered_one_by_one(talk: Talk, pool: Pool) -> None:
    await talk.route(PROMPT)
    await talk.response_headers({":status": "200", "content-type": "text/event-stream"})
    await talk.reply()
    usage = b'data: {"usage":{"prompt_tokens":7,"completion_tokens":10}}\n\ndata: [DONE]\n\n'
    for part in (b"data: {}\n\n", usage[:20], usage[20:]):
        await talk.response_body(part)
        streamed = (await talk.reply()).response_body.response.body_mutation.streamed_response
        assert (streamed.body, streamed.end_of_stream) == (part, False)
    await talk.response_body(b"", end=True)
    assert await talk.body("response") == b""
    assert pool.sample("llm_d_epp_request_input_tokens_sum") == 7


async def test_response_trailers_are_answered(talk: Talk) -> None:
    await talk.route(PROMPT)
    await talk.response_headers()
    await talk.reply()
    await talk.response_body(ANSWER)
    await talk.response_trailers()
    streamed = (await talk.reply()).response_body.response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (ANSWER, False)
    assert (await talk.reply()).WhichOneof("response") == "response_trailers"


async def test_response_headers_may_end_the_stream(talk: Talk, pool: Pool) -> None:
    await talk.route(PROMPT)
    await talk.response_headers(((":status", "204"),), end=True)
    await talk.reply()
    assert pool.open == 0


async def test_repeated_response_headers_are_left_alone(talk: Talk) -> None:
    await talk.route(PROMPT)
    await talk.response_headers(((":status", "200"), ("set-cookie", "a=1"), ("set-cookie", "b=2")))
    assert set_headers(common(await talk.reply()).header_mutation) == {"x-went-into-resp-headers": "true"}


async def test_the_served_endpoint_is_read_from_any_message(talk: Talk, pool: Pool) -> None:
    await talk.route(PROMPT)
    hints = {"envoy.lb": {"x-gateway-destination-endpoint-served": "10.0.0.2:8000"}}
    await talk.response_headers(hints=hints)
    await talk.reply()
    assert (pool.in_flight_at(0), pool.in_flight_at(1)) == (0, 1)


# === subset hint and refusals ===


@pytest.mark.parametrize("place", ["headers", "body"])
@pytest.mark.parametrize("value", [["10.0.0.3:8000"], "10.0.0.3:8000", "10.0.0.3", [7, "10.0.0.3:8000"]])
async def test_the_subset_hint_is_read_from_any_message(talk: Talk, place: str, value: object) -> None:
    hints = {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": value}}
    await talk.request_headers(hints=hints if place == "headers" else None)
    await talk.request_body(PROMPT, hints=hints if place == "body" else None)
    assert await talk.routed() == "10.0.0.3:8000"


@pytest.mark.parametrize("value", [[], "", 7, ["10.0.0.3:1"], ["192.168.1.99:8000"]])
@pytest.mark.parametrize("end", [True, False])
async def test_a_subset_without_candidates_is_unavailable(talk: Talk, value: object, end: bool) -> None:
    hints = {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": value}}
    await talk.request_headers(end=end, hints=hints)
    if not end:
        await talk.request_body(PROMPT)
    status, body, headers = await talk.refusal()
    assert (status, headers["x-llm-d-request-dropped-reason"]) == (503, "rejected-no-endpoints")
    assert body.endswith("failed to find endpoint candidates for serving the request")


async def test_an_absent_or_null_subset_is_no_limit(talk: Talk) -> None:
    hints = {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": None}, "envoy.lb": {}}
    await talk.request_headers(hints=hints)
    await talk.request_body(PROMPT)
    assert await talk.routed() == BEST


async def test_a_body_over_the_limit(talk: Talk) -> None:
    await talk.request_headers()
    for _ in range(3):
        await talk.request_body(bytes(LIMIT // 2), end=False)
    status, body, _ = await talk.refusal()
    assert (status, "PayloadTooLarge" in body) == (413, True)


@pytest.mark.parametrize("modes", [FULL, ("STREAMED", "STREAMED"), ("BUFFERED", "BUFFERED")])
async def test_a_message_that_holds_a_body_over_the_limit_is_refused_in_words(
    talk: Talk, modes: tuple[str, str]
) -> None:
    await talk.request_headers(modes=modes)
    if modes is not FULL:
        await talk.reply()
    await talk.request_body(bytes(4 * LIMIT))
    status, body, _ = await talk.refusal()
    assert (status, "PayloadTooLarge" in body) == (413, True)


async def test_the_limit_on_requests_is_none_on_responses(talk: Talk) -> None:
    await talk.request_headers(modes=("BUFFERED", "BUFFERED"))
    await talk.reply()
    await talk.request_body(PROMPT)
    await talk.routed()
    await talk.response_headers()
    await talk.reply()
    await talk.response_body(bytes(4 * LIMIT), end=True)
    assert (await talk.reply()).WhichOneof("response") == "response_body"


async def test_broken_json(talk: Talk) -> None:
    await talk.request_headers()
    await talk.request_body(b"no healthy upstream")
    status, body, _ = await talk.refusal()
    assert status == 400
    assert body == (
        "inference error: BadRequest - error unmarshaling request bodyMap: "
        "invalid character 'o' in literal null (expecting 'u')"
    )


# === early ends ===


@pytest.mark.parametrize("stage", ["start", "headers", "body", "routed", "response", "chunk"])
@pytest.mark.parametrize("how", ["cancel", "half-close"])
async def test_a_conversation_may_break_off_anywhere(
    picker: Gateway, pool: Pool, stage: str, how: str
) -> None:
    async with picker.talk() as talk:
        if stage != "start":
            await talk.request_headers()
        if stage == "body":
            await talk.request_body(PROMPT[:9], end=False)
        if stage in ("routed", "response", "chunk"):
            await talk.request_body(PROMPT)
            await talk.routed()
            assert pool.open == 1
        if stage in ("response", "chunk"):
            await talk.response_headers({":status": "200", "content-type": "text/event-stream"})
        if stage == "chunk":
            await talk.response_body(b"data: {}\n\n")
        if how == "half-close":
            await talk.call.done_writing()
    await settled(pool)
    assert (pool.open, pool.in_flight, pool.prefill_tokens) == (0, 0, 0)


@pytest.mark.parametrize("junk", [b"\xff\xff\xff", b"", b"\x0a\xff"])
async def test_bytes_that_are_no_message_end_only_their_own_stream(picker: Gateway, junk: bytes) -> None:
    async with picker.talk() as other:
        await other.request_headers()
        call = picker.raw()
        await call.write(junk)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        await other.request_body(PROMPT)
        assert await other.routed() == BEST


async def test_messages_out_of_order_end_only_their_own_stream(picker: Gateway) -> None:
    async with AsyncExitStack() as stack:
        other, wrong = [await stack.enter_async_context(picker.talk()) for _ in range(2)]
        await other.request_headers()
        await wrong.request_headers()
        await wrong.request_headers()
        assert await wrong.call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "second time" in await wrong.call.details()
        await other.request_body(PROMPT)
        assert await other.routed() == BEST


async def test_many_conversations_at_once(picker: Gateway, pool: Pool) -> None:
    async def one() -> str:
        async with picker.talk() as talk:
            place = await talk.route(PROMPT)
            await talk.response_headers()
            await talk.reply()
            await talk.response_body(ANSWER, end=True)
            assert await talk.body("response") == ANSWER
            return place

    places = await asyncio.gather(*(one() for _ in range(100)))
    assert len(places) == 100
    assert pool.sample("llm_d_epp_request_total") == 100


async def test_a_burst_on_one_connection_is_not_refused(picker: Gateway) -> None:
    async with picker.talk() as first:  # the connection is up, so that the burst finds it open
        await first.route(PROMPT)

    async def one() -> str:
        async with picker.talk() as talk:
            return await talk.route(PROMPT)

    assert await asyncio.gather(*(one() for _ in range(2000))) == [BEST] * 2000


# === a peer that is gone without a word ===


class Wire:
    """Carries bytes between a gateway and the picker, until it is cut as a dead host cuts it: in silence."""

    def __init__(self, address: str) -> None:
        self.cut = False
        self._port = int(address.rpartition(":")[2])
        self._pumps: list[asyncio.Task[None]] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._pumps.append(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.closing(sink):
            while data := await source.read(1 << 16):
                if not self.cut:
                    sink.write(data)

    async def closed(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.wait(self._pumps)


async def test_the_books_forget_a_peer_that_vanished_and_keep_one_that_is_only_quiet(
    transport: str, pool: Pool
) -> None:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(transport, pool, silence=0.3))
        wire = Wire(address)
        await outlived(pool, wire, address)
        await wire.closed()


async def outlived(pool: Pool, wire: Wire, address: str) -> None:
    async with (
        await asyncio.start_server(wire.accept, "127.0.0.1", 0) as entrance,
        gateway(f"127.0.0.1:{entrance.sockets[0].getsockname()[1]}") as far,
        gateway(address) as near,
        far.talk() as vanishing,
        near.talk() as quiet,
    ):
        await vanishing.route(PROMPT)
        await quiet.route(PROMPT)
        wire.cut = True
        async with asyncio.timeout(10.0):
            while pool.open > 1:
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)
        assert pool.open == 1
        await quiet.response_headers(end=True)
        await quiet.reply()
