"""Attacks on memory: what a peer makes the server hold stays within its limits, and is gone afterwards."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import WindowUpdateFrame

from tests.fakes.http2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    WHOLE,
    Client,
    frame,
    message,
    plain,
    request,
    rst_stream,
    settings,
    window_update,
)
from tests.fakes.siege import KIB, MIB, Siege, siege

ECHO = plain(request())
WORDY = plain(request("/test.Talk/Wordy"))
"""A call whose trailers alone are a hundred times its size."""
GZIP = request("/test.Talk/Echo", ("grpc-encoding", "gzip"))
INDEXED = 0x80 | 62
"""The newest entry of the table."""


def entry(size: int) -> bytes:
    """A field that goes into the table."""
    value = b"v" * size
    return b"\x40\x01x\x7f" + bytes([(size - 127) & 127 | 128, (size - 127) >> 7]) + value


# === header blocks ===


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(entry(4000) + bytes([INDEXED]) * 12_000, id="one-large-entry-again-and-again"),
        pytest.param(b"\xa0" * 16_000, id="the-static-table-again-and-again"),
        pytest.param(b"\x00\x01x\x00" * 4_000, id="very-many-tiny-fields"),
        pytest.param(b"\x40\x01x\x00" * 4_000, id="very-many-tiny-entries"),
        pytest.param(b"\x0f\x01\x00" * 5_000, id="very-many-empty-values"),
    ],
)
async def test_hpack_bomb(block: bytes) -> None:
    async with siege() as under:
        await under.repelled(frame(HEADERS, 1, block, WHOLE))
        assert under.peak < MIB


async def test_hpack_bomb_in_small_blocks() -> None:
    """Each block is within the limit; the streams are refused and forgotten."""
    block = bytes([INDEXED]) * 8
    first = frame(HEADERS, 1, plain(request()) + entry(3900), END_HEADERS) + rst_stream(1)
    more = b"".join(frame(HEADERS, stream, block, WHOLE) for stream in range(3, 4000, 2))
    async with siege() as under:
        await under.repelled(first + more)  # malformed, each of them
        assert under.peak < MIB


async def test_blocks_that_would_be_remembered_for_ever() -> None:
    """Only so many are."""
    async with siege() as under:
        streams = range(1, 1000, 2)
        calls = b"".join(
            frame(HEADERS, stream, plain(request("/no.Such/One", ("x", f"{stream:0500}"))), WHOLE)
            for stream in streams
        )
        assert await under.attack(calls) is None
        assert under.grown < MIB // 2
        await under.nobody_was_hurt()


@pytest.mark.parametrize(
    "string",
    [
        pytest.param(b"\x00\x01x\xff" + b"\x80" * 3 + b"\x01", id="longer-than-its-block"),
        pytest.param(b"\xff" * 16_000, id="an-integer-without-end"),
        pytest.param(b"\x3f" + b"\xff" * 16_000, id="a-size-without-end"),
    ],
)
async def test_numbers_beyond_all_bounds(string: bytes) -> None:
    async with siege() as under:
        await under.repelled(frame(HEADERS, 1, string, WHOLE), ErrorCodes.COMPRESSION_ERROR)


async def test_a_block_without_end_is_not_kept() -> None:
    part = frame(CONTINUATION, 1, bytes(16_000))
    async with siege(header_list=40_000) as under:
        await under.repelled(frame(HEADERS, 1, bytes(16_000)) + part * 100)
        assert under.peak < MIB


# === messages ===


async def test_a_length_is_not_believed() -> None:
    """Memory follows what came, not what was promised."""
    async with siege() as under:
        streams = range(1, 41, 2)
        promises = b"".join(
            frame(HEADERS, stream, ECHO, END_HEADERS) + frame(DATA, stream, b"\0\x0f\xff\xff\xffdrip")
            for stream in streams
        )
        assert await under.attack(promises) is None
        assert under.peak < MIB
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_a_message_over_the_limit_is_refused_by_its_prefix() -> None:
    async with siege(message=1000) as under:
        data = frame(HEADERS, 1, ECHO, END_HEADERS) + frame(DATA, 1, b"\0\xff\xff\xff\xff")
        await under.attacker.send(data)
        assert (await under.attacker.response(1)).status == 8
        await under.attacker.works()
        await under.nobody_was_hurt()


async def test_a_message_of_single_bytes_takes_its_size() -> None:
    size = 20_000
    parts = message(bytes(size))
    data = b"".join(frame(DATA, 1, parts[at : at + 1]) for at in range(size))
    async with siege() as under:
        assert await under.attack(frame(HEADERS, 1, ECHO, END_HEADERS) + data) is None
        assert under.grown < 3 * size
        assert under.peak < MIB
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_messages_that_do_not_end_share_one_limit() -> None:
    async with siege(assembling=MIB) as under:
        streams = range(1, 400, 2)
        part = frame(DATA, 1, b"\0\x00\x20\x00\x00" + bytes(16_000))[9:]
        data = b"".join(
            frame(HEADERS, stream, ECHO, END_HEADERS) + frame(DATA, stream, part) for stream in streams
        )
        assert await under.attack(data) is None
        assert under.grown < 2 * MIB
        refused = [stream for stream in streams if under.attacker.responses.get(stream)]
        assert not refused  # told, but not kept by the client
        assert under.attacker.tally["HeadersFrame"] > 100
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_gzip_bomb() -> None:
    """A message that would be 50 MiB costs no more than the limit, and its own call alone."""
    bomb = message(gzip.compress(bytes(50 * MIB), 9), 1)
    assert len(bomb) < 64 * KIB
    async with siege(message=MIB) as under:
        data = frame(HEADERS, 1, plain(GZIP), END_HEADERS)
        data += b"".join(frame(DATA, 1, bomb[at : at + 16_000]) for at in range(0, len(bomb), 16_000))
        assert await under.attack(data) is None
        assert under.peak < 3 * MIB
        await under.attacker.works()
        await under.nobody_was_hurt()


async def test_very_many_empty_messages_in_a_frame() -> None:
    async with siege() as under:
        data = frame(HEADERS, 1, plain(request("/test.Talk/Mute")), END_HEADERS)
        assert await under.attack(data + frame(DATA, 1, message(b"") * 3_000) * 3) is None
        assert under.peak < MIB
        await under.attacker.close()
        await under.nobody_was_hurt()


# === answers that nobody takes ===


async def stuff(under: Siege, data: bytes, size: int) -> int:
    """Send messages on stream 1 for as long as the server gives leave; answers the bytes that went."""
    attacker, left, sent = under.attacker, 16 * KIB, 0
    part = frame(DATA, 1, data * (12_000 // len(data)))
    while sent < size and left >= len(part):
        await attacker.send(part)
        sent, left = sent + len(part) - 9, left - len(part) + 9
        if left < len(part):
            await attacker.sync()
            left += sum(
                came.window_increment
                for came in attacker.frames
                if isinstance(came, WindowUpdateFrame) and came.stream_id == 1
            )
            attacker.frames.clear()
    return sent


@pytest.mark.parametrize("size", [1, 10, 100, 10_000])
async def test_zero_window_stall(size: int) -> None:
    """The answers wait, and the peer gets no leave to send more; others on the connection go on."""
    limits = {"stream_window": 16 * KIB, "stream_buffer": 16 * KIB}
    async with siege(**limits) as under:
        attacker = under.attacker
        await attacker.send(settings((4, 0)), attacker.headers(1))
        await attacker.settled()
        attacker.frames.clear()
        under.measure()
        sent = await stuff(under, message(bytes(size)), 4 * MIB)
        assert sent < 64 * KIB
        assert under.grown < 3 * sent + 32 * KIB
        await attacker.send(settings((4, 65_535), (4, 65_535)))
        assert len(await answered(attacker, 1)) > 0
        await attacker.send(window_update(1, MIB), window_update(0, MIB))
        await attacker.works()
        await attacker.close()
        await under.nobody_was_hurt()


async def answered(client: Client, stream: int) -> bytes:
    await client.sync()
    return bytes(client.responses[stream].body)


async def test_zero_window_stall_on_many_streams() -> None:
    """All streams together have a limit, too."""
    limits = {"stream_window": 64 * KIB, "connection_window": 128 * KIB, "connection_buffer": 256 * KIB}
    async with siege(**limits) as under:
        attacker = under.attacker
        await attacker.send(settings((4, 0)))
        await attacker.settled()
        await attacker.send(*(attacker.headers(stream) for stream in range(1, 101, 2)))
        attacker.frames.clear()
        under.measure()
        left, sent = 128 * KIB, 0
        for stream in range(1, 101, 2):
            if left < 16_000:
                await attacker.sync()
                left += sum(
                    came.window_increment
                    for came in attacker.frames
                    if isinstance(came, WindowUpdateFrame) and came.stream_id == 0
                )
                attacker.frames.clear()
            if left >= 16_000:
                await attacker.send(frame(DATA, stream, message(bytes(15_995))))
                left, sent = left - 16_000, sent + 16_000
        assert sent < 512 * KIB
        assert under.grown < MIB
        await attacker.close()
        await under.nobody_was_hurt()


@asynccontextmanager
async def deaf(port: int) -> AsyncIterator[socket.socket]:
    """A connection that is never read, with little room of its own."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield sock


async def shout(sock: socket.socket, data: bytes) -> bool:
    """Whether all of it could be sent."""
    try:
        async with asyncio.timeout(1.0):
            await asyncio.get_running_loop().sock_sendall(sock, data)
    except (ConnectionError, TimeoutError):
        return False
    return True


async def test_a_peer_that_asks_much_and_never_reads() -> None:
    """Answers without a body are under no window: the connection ends when too many are not read."""
    async with siege(unread=256 * KIB, linger=0.1) as under, deaf(under.port) as sock:
        under.measure()
        await shout(sock, PREFACE + settings())
        for at in range(1, 12_000, 100):
            calls = b"".join(frame(HEADERS, stream, WORDY, WHOLE) for stream in range(at, at + 100, 2))
            if not await shout(sock, calls):
                break
            await asyncio.sleep(0)
        async with asyncio.timeout(4.0):
            while len(under.server.peers) > 2:  # the attacker that was greeted, and the bystander
                await asyncio.sleep(0.01)
        assert under.peak < 4 * MIB
        await under.nobody_was_hurt()


async def test_a_peer_that_asks_for_bodies_and_never_reads() -> None:
    """Bodies wait for the socket: the peer gets no leave to ask for more."""
    limits = {"stream_window": 64 * KIB, "connection_window": 128 * KIB, "linger": 0.1}
    async with siege(**limits) as under, deaf(under.port) as sock:
        under.measure()
        windows = settings((4, 2**31 - 1)) + window_update(0, 2**31 - 1 - 65_535)
        call = frame(HEADERS, 1, ECHO, END_HEADERS)
        await shout(sock, PREFACE + windows + settings(flags=1) + call)
        for _ in range(4):
            assert await shout(sock, frame(DATA, 1, message(bytes(15_995))))
        await asyncio.sleep(0.05)
        assert under.grown < MIB
        sock.close()
        await under.nobody_was_hurt()


async def test_very_many_streams_that_say_nothing() -> None:
    """An open stream costs little."""
    async with siege(streams=2_000) as under:
        opening = b"".join(frame(HEADERS, stream, ECHO, END_HEADERS) for stream in range(1, 4000, 2))
        assert await under.attack(opening) is None
        assert under.grown < 2_000 * 4 * KIB
        assert await under.attack(b"") is None
        end = b"".join(frame(DATA, stream, b"", END_STREAM) for stream in range(1, 4000, 2))
        assert await under.attack(end) is None
        await under.nobody_was_hurt()
