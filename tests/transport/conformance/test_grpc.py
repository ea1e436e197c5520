"""gRPC over HTTP/2, asked by grpcio; what both transports must answer alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from h2.errors import ErrorCodes

from endpoint_picker.app import SHELLS
from endpoint_picker.transport.limits import Limits
from tests.fakes.http2_client import ACK, DATA, END_STREAM, PING, WHOLE, Client, frame, message, request
from tests.fakes.talking import Talk, talking

MOST = 1 << 20
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Channel = Any  # of bytes both ways, which the stubs cannot say without serialisers
Code = grpc.StatusCode


@pytest.fixture
async def place(transport: str, talk: Talk) -> AsyncIterator[int]:
    """The port of either server."""
    server = SHELLS[transport](talk.services(), Limits(message=MOST))
    yield await server.start(0)
    await server.stop(0.0)


@pytest.fixture
async def channel(place: int) -> AsyncIterator[Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place}", options=OPTIONS) as channel:
        yield channel


async def fails(call: Callable[[], Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [part async for part in call()]
    return caught.value


async def closed(talk: Talk, count: int) -> None:
    async with asyncio.timeout(3.0):
        while talk.closed < count:
            await asyncio.sleep(0.005)


async def test_a_unary_call(channel: Channel) -> None:
    assert await channel.unary_unary("/test.Talk/Echo")(b"hello") == b"hello"
    assert await channel.unary_unary("/test.Talk/Echo")(b"") == b""


async def test_a_call_may_answer_later_and_then_end(channel: Channel, talk: Talk) -> None:
    call = channel.stream_stream("/test.Talk/Slow")()
    for text in (b"one", b"two", b"end"):
        await call.write(text)
        assert [await call.read(), await call.read()] == [text, text.upper()]
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is Code.OK
    await closed(talk, 1)


async def test_what_a_call_says_beside_its_answer_comes_after_it(channel: Channel) -> None:
    call = channel.stream_stream("/test.Talk/Eager")()
    for text in (b"one", b"two"):
        await call.write(text)
        assert [await call.read() for _ in range(3)] == [b"first", text, text.upper()]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_call_that_is_left_while_it_waits_is_closed_once(channel: Channel, talk: Talk) -> None:
    call = channel.stream_stream("/test.Talk/Slow")()
    await call.write(b"one")
    await asyncio.sleep(0.005)
    call.cancel()
    await closed(talk, 1)
    await asyncio.sleep(0.05)
    assert talk.closed == 1


async def test_messages_both_ways_in_turn(channel: Channel) -> None:
    call = channel.stream_stream("/test.Talk/Echo")()
    for at in range(20):
        await call.write(b"%d" % at)
        assert await call.read() == b"%d" % at
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is Code.OK


@pytest.mark.parametrize("size", [16_379, 16_384, 65_536, MOST - 100])
async def test_large_messages_both_ways(channel: Channel, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert await channel.unary_unary("/test.Talk/Echo")(data[:size]) == data[:size]


async def test_an_answer_much_larger_than_every_window(channel: Channel) -> None:
    assert len(await channel.unary_unary("/test.Talk/Swell")(b"20000000")) == 20_000_000


async def test_many_calls_at_once(channel: Channel) -> None:
    method = channel.unary_unary("/test.Talk/Echo")
    answers = await asyncio.gather(*(method(b"%d" % at) for at in range(300)))
    assert answers == [b"%d" % at for at in range(300)]


async def test_half_close_ends_a_call_without_messages(channel: Channel, talk: Talk) -> None:
    call = channel.stream_stream("/test.Talk/Echo")()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is Code.OK
    await closed(talk, 1)


async def test_a_call_that_ends_first(channel: Channel, talk: Talk) -> None:
    call = channel.stream_stream("/test.Talk/First")()
    await call.write(b"first")
    assert await call.read() == b"first"
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is Code.OK
    await closed(talk, 1)


async def test_an_unknown_method(channel: Channel) -> None:
    error = await fails(lambda: channel.unary_stream("/test.Talk/Nothing")(b""))
    assert error.code() is Code.UNIMPLEMENTED


async def test_a_status_with_its_text(channel: Channel, talk: Talk) -> None:
    error = await fails(lambda: channel.unary_stream("/test.Talk/Fail")(b"status"))
    assert (error.code(), error.details()) == (Code.INVALID_ARGUMENT, "100 % wrong: ü\n")
    await closed(talk, 1)


async def test_a_defect_is_told_without_its_text(channel: Channel, talk: Talk) -> None:
    error = await fails(lambda: channel.unary_stream("/test.Talk/Fail")(b"defect"))
    assert error.code() is Code.INTERNAL
    assert "a defect" not in str(error.details())
    await closed(talk, 1)


async def test_a_deadline(channel: Channel, talk: Talk) -> None:
    call = channel.stream_stream("/test.Talk/Mute")(timeout=0.05)
    await call.write(b"hello")
    assert await call.code() is Code.DEADLINE_EXCEEDED
    await closed(talk, 1)


async def test_a_cancellation_reaches_the_call(channel: Channel, talk: Talk) -> None:
    call = channel.stream_stream("/test.Talk/Echo")()
    await call.write(b"hello")
    assert await call.read() == b"hello"
    call.cancel()
    await closed(talk, 1)


@pytest.mark.parametrize("size", [0, 10, 100_000])
async def test_messages_packed_with_gzip(channel: Channel, size: int) -> None:
    method = channel.unary_unary("/test.Talk/Echo")
    assert await method(b"a" * size, compression=grpc.Compression.Gzip) == b"a" * size


async def test_a_message_over_the_limit(channel: Channel, talk: Talk) -> None:
    error = await fails(lambda: channel.unary_stream("/test.Talk/Echo")(bytes(MOST + 1)))
    assert error.code() is Code.RESOURCE_EXHAUSTED
    await closed(talk, talk.opened)


async def test_a_small_packing_of_a_message_over_the_limit(channel: Channel) -> None:
    call = channel.unary_stream("/test.Talk/Echo")
    error = await fails(lambda: call(bytes(MOST + 1), compression=grpc.Compression.Gzip))
    assert error.code() is Code.RESOURCE_EXHAUSTED


async def test_metadata_is_no_hindrance(channel: Channel) -> None:
    metadata = (("x-some", "text"), ("x-some-bin", bytes(range(256))), ("x-more", "y" * 4000))
    assert await channel.unary_unary("/test.Talk/Echo")(b"hello", metadata=metadata) == b"hello"


async def test_a_client_of_small_messages_is_never_told_to_calm_down() -> None:
    """grpcio opens windows in steps of a few bytes; that must not count as waste."""
    async with (
        talking(Talk(), burst=30, rate=0.0) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened,
    ):
        channel: Channel = opened
        method = channel.unary_unary("/test.Talk/Echo")
        for _ in range(100):
            assert await method(b"x" * 20) == b"x" * 20
        await asyncio.gather(*(method(b"y" * 20) for _ in range(100)))
        call = channel.stream_stream("/test.Talk/Echo")()
        for _ in range(100):
            await call.write(b"z" * 20)
            assert await call.read() == b"z" * 20
        call.cancel()


# === what no client of gRPC would send ===


async def status(client: Client, *parts: bytes) -> tuple[int | None, str]:
    await client.send(*parts)
    response = await client.response(1)
    return response.status, response.headers[":status"]


@pytest.mark.parametrize("kind", ["text/plain", "application/grpcx", "application/json", "", None])
async def test_another_content_type_is_415(client: Client, kind: str | None) -> None:
    fields = [field for field in request() if field[0] != "content-type"]
    if kind is not None:
        fields.append(("content-type", kind))
    assert (await status(client, client.headers(1, fields)))[1] == "415"
    await client.works()


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;charset=utf-8"])
async def test_subtypes_of_grpc_are_served(client: Client, kind: str) -> None:
    fields = [(name, kind if name == "content-type" else value) for name, value in request()]
    data = frame(DATA, 1, message(b"hello"), END_STREAM)
    assert await status(client, client.headers(1, fields), data) == (0, "200")


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "post"])
async def test_another_method_is_405(client: Client, method: str) -> None:
    fields = [(":method", method), *request()[1:]]
    assert (await status(client, client.headers(1, fields, WHOLE)))[1] == "405"


@pytest.mark.parametrize(
    ("field", "code"),
    [
        pytest.param(("grpc-timeout", "soon"), 13, id="timeout-that-is-no-number"),
        pytest.param(("grpc-timeout", "123456789S"), 13, id="timeout-of-nine-digits"),
        pytest.param(("grpc-timeout", "1s"), 13, id="timeout-of-an-unknown-unit"),
        pytest.param(("grpc-encoding", "br"), 12, id="unknown-encoding"),
    ],
)
async def test_fields_that_cannot_be_obeyed(client: Client, field: tuple[str, str], code: int) -> None:
    assert await status(client, client.headers(1, request("/test.Talk/Mute", field))) == (code, "200")
    if code == 12:
        assert client.responses[1].headers["grpc-accept-encoding"] == "identity,gzip"


@pytest.mark.parametrize("text", ["0S", "1m", "1000u", "1000000n"])
async def test_every_unit_of_a_deadline(client: Client, text: str) -> None:
    fields = request("/test.Talk/Mute", ("grpc-timeout", text))
    assert await status(client, client.headers(1, fields)) == (4, "200")


@pytest.mark.parametrize("text", ["99999999H", "99999999S"])
async def test_a_deadline_that_is_far_away(client: Client, text: str) -> None:
    fields = request("/test.Talk/Echo", ("grpc-timeout", text))
    data = frame(DATA, 1, message(b"hello"), END_STREAM)
    assert await status(client, client.headers(1, fields), data) == (0, "200")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(message(b"hello", 2), id="flag-that-does-not-exist"),
        pytest.param(message(b"hello", 1), id="packed-without-encoding"),
        pytest.param(message(b"hello")[:-1], id="message-breaks-off"),
        pytest.param(b"\0\0\0", id="prefix-breaks-off"),
    ],
)
async def test_messages_that_are_none(client: Client, data: bytes) -> None:
    assert await status(client, client.headers(1), frame(DATA, 1, data, END_STREAM)) == (13, "200")
    await client.works()


async def test_what_is_no_gzip(client: Client) -> None:
    fields = request("/test.Talk/Echo", ("grpc-encoding", "gzip"))
    data = frame(DATA, 1, message(b"hello", 1), END_STREAM)
    assert (await status(client, client.headers(1, fields), data))[0] == 13


async def test_several_messages_in_one_frame_and_one_in_several(client: Client) -> None:
    data = message(b"one") + message(b"") + message(b"three")
    await client.send(client.headers(1), frame(DATA, 1, data + data[:3]), frame(DATA, 1, data[3:9]))
    await client.send(frame(DATA, 1, data[9:], END_STREAM))
    assert (await client.response(1)).messages == [b"one", b"", b"three"] * 2


async def test_a_status_alone_is_one_header_section(client: Client) -> None:
    await client.send(client.call(1, path="/no.Such/One"))
    response = await client.response(1)
    assert (response.sections, response.status) == (1, 12)


async def test_a_text_is_encoded_with_percent_signs(client: Client) -> None:
    await client.send(client.call(1, b"status", "/test.Talk/Fail"))
    assert (await client.response(1)).headers["grpc-message"] == "100 %25 wrong: %C3%BC%0A"


# === the end of the server ===


async def test_drain(talk: Talk) -> None:
    """The open stream ends in peace, and what begins after the GOAWAY is not served."""
    async with talking(talk) as (server, port):
        client = await (await Client.connect(port)).greet()
        await client.send(client.headers(1))
        await client.sync()
        stopping = asyncio.create_task(server.stop(3.0))
        first = await client.goodbye()
        assert (first.error_code, first.last_stream_id) == (ErrorCodes.NO_ERROR, 2**31 - 1)
        await client.send(client.call(3))  # on its way when the GOAWAY came: it is served (6.8)
        assert (await client.response(3)).messages == [b"hello"]
        await client.send(frame(PING, 0, b"farewell", ACK))  # as its ping was
        second = await client.goodbye()
        assert (second.error_code, second.last_stream_id) == (ErrorCodes.NO_ERROR, 3)
        await client.send(client.call(5))
        await client.send(frame(DATA, 1, message(b"late"), END_STREAM))
        assert (await client.response(1)).messages == [b"late"]
        assert await client.over() is second
        assert 5 not in client.responses
        await stopping
        assert talk.opened == talk.closed == 2
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(port)
        await client.close()


async def test_drain_has_an_end(talk: Talk) -> None:
    async with talking(talk) as (server, port):
        client = await (await Client.connect(port)).greet()
        await client.send(client.headers(1, request("/test.Talk/Mute")))
        await client.sync()
        await server.stop(0.05)
        goodbye = await client.over()
        assert goodbye is not None
        assert goodbye.last_stream_id == 1
        assert talk.closed == 1
        await client.close()


async def test_a_drained_client_goes_elsewhere(talk: Talk) -> None:
    """grpcio connects anew after a GOAWAY, and no call is lost."""
    async with talking(talk) as (server, port):
        options = [("grpc.initial_reconnect_backoff_ms", 100)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as opened:
            channel: Channel = opened
            call = channel.stream_stream("/test.Talk/Echo")()
            await call.write(b"before")
            assert await call.read() == b"before"
            for peer in list(server.peers):
                peer.leave()
            unary = channel.unary_unary("/test.Talk/Echo")
            answers = await asyncio.gather(*(unary(b"new", wait_for_ready=True) for _ in range(50)))
            assert answers == [b"new"] * 50
            await call.write(b"after")
            assert await call.read() == b"after"
            await call.done_writing()
            assert await call.code() is Code.OK
