"""Frames that cost a server more than their sender, in great number: each flood ends its own connection."""

from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes

from tests.fakes.http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    UNKNOWN,
    WHOLE,
    frame,
    goaway,
    message,
    plain,
    request,
    rst_stream,
    settings,
    window_update,
)
from tests.fakes.siege import BURST, MIB, siege

MANY = 2_000
BLOCK = plain(request())
MUTE = plain(request("/test.Talk/Mute"))
OPEN = frame(HEADERS, 1, MUTE, END_HEADERS)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(PING, 0, bytes(8)) * MANY, id="ping"),
        pytest.param(frame(PING, 0, bytes(8), ACK) * MANY, id="answers-to-no-ping"),
        pytest.param(settings() * MANY, id="settings"),
        pytest.param(settings(*[(0x99, 1)] * 100) * MANY, id="settings-of-unknown-values"),
        pytest.param(settings(flags=ACK) * MANY, id="acknowledgements-of-nothing"),
        pytest.param(frame(PRIORITY, 1, bytes(5)) * MANY, id="priority"),
        pytest.param(frame(PRIORITY, 2**31 - 1, bytes(5)) * MANY, id="priority-of-idle-streams"),
        pytest.param(frame(UNKNOWN, 0, bytes(100)) * MANY, id="unknown-frames"),
        pytest.param(OPEN + frame(DATA, 1) * MANY, id="empty-data"),
        pytest.param(OPEN + frame(DATA, 1, b"\0", PADDED) * MANY, id="data-that-is-padding-length"),
        pytest.param(OPEN + frame(DATA, 1, b"\xff" + bytes(255), PADDED) * MANY, id="data-that-is-padding"),
        pytest.param(OPEN + window_update(1, 1) * MANY, id="tiny-window-updates-of-a-stream"),
        pytest.param(window_update(0, 1) * MANY, id="tiny-window-updates-of-the-connection"),
        pytest.param(OPEN + goaway(0) * MANY, id="goaway"),
        pytest.param(OPEN + rst_stream(1) * MANY, id="resets-of-one-stream"),
    ],
)
async def test_a_flood_of_frames_that_do_no_good(flood: bytes) -> None:
    async with siege() as under:
        await under.repelled(flood)


async def test_rapid_reset() -> None:
    streams = range(1, 2 * MANY, 2)
    flood = b"".join(frame(HEADERS, stream, BLOCK, END_HEADERS) + rst_stream(stream) for stream in streams)
    async with siege() as under:
        await under.repelled(flood)
        assert under.talk.opened <= BURST + 10


async def test_rapid_reset_of_whole_requests() -> None:
    """The calls that came with their reset are not served."""
    streams = range(1, 2 * MANY, 2)
    flood = b"".join(
        frame(HEADERS, stream, BLOCK, END_HEADERS)
        + frame(DATA, stream, message(b"hello"), END_STREAM)
        + rst_stream(stream)
        for stream in streams
    )
    async with siege() as under:
        await under.repelled(flood)


PROVOCATIONS = [
    pytest.param(lambda stream: window_update(stream, 0), id="window-update-by-nothing"),
    pytest.param(lambda stream: window_update(stream, 2**31 - 1), id="window-overflow"),
    pytest.param(lambda stream: frame(PRIORITY, stream, bytes(4)), id="priority-of-a-wrong-length"),
    pytest.param(
        lambda stream: frame(DATA, stream, b"", END_STREAM) + frame(DATA, stream, b"x"), id="data-after-end"
    ),
    pytest.param(
        lambda stream: frame(DATA, stream, b"", END_STREAM) + frame(HEADERS, stream, b"", WHOLE),
        id="headers-after-end",
    ),
    pytest.param(lambda stream: frame(HEADERS, stream, b"", END_HEADERS), id="trailers-without-end"),
    pytest.param(lambda stream: frame(HEADERS, stream, plain([(":x", "")]), WHOLE), id="bad-trailers"),
]


@pytest.mark.parametrize("provoke", PROVOCATIONS)
async def test_made_you_reset(provoke: Callable[[int], bytes]) -> None:
    streams = range(1, 2 * MANY, 2)
    flood = b"".join(frame(HEADERS, stream, MUTE, END_HEADERS) + provoke(stream) for stream in streams)
    async with siege() as under:
        await under.repelled(flood)
        assert under.talk.opened <= BURST + 10


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([*request(), ("Bad", "name")], id="malformed"),
        pytest.param(
            request("/test.Talk/Mute", ("content-length", "1")), id="content-length-without-content"
        ),
    ],
)
async def test_made_you_reset_before_a_call_begins(fields: list[tuple[str, str]]) -> None:
    block = plain(fields)
    flood = b"".join(frame(HEADERS, stream, block, WHOLE) for stream in range(1, 2 * MANY, 2))
    async with siege() as under:
        await under.repelled(flood)


async def test_streams_beyond_the_limit() -> None:
    flood = b"".join(frame(HEADERS, stream, MUTE, END_HEADERS) for stream in range(1, 2 * MANY, 2))
    async with siege(streams=10) as under:
        await under.repelled(flood)
        assert under.talk.opened <= 13


async def test_streams_after_a_goaway() -> None:
    late = b"".join(frame(HEADERS, stream, MUTE, END_HEADERS) for stream in range(3, 2 * MANY, 2))
    async with siege() as under:
        await under.repelled(OPEN + goaway(0) + late)
        assert under.talk.opened <= 4


async def test_data_on_closed_streams() -> None:
    """Each is answered once, and all are paid for."""
    closed = b"".join(
        frame(HEADERS, stream, plain(request("/no.Such/One")), END_HEADERS) for stream in range(1, 20, 2)
    )
    data = b"".join(frame(DATA, stream, b"x") for stream in range(1, 20, 2))
    async with siege(stream_window=8_192) as under:
        assert await under.attack(closed) is None
        await under.repelled(data * (MANY // 10))


async def test_data_that_could_not_know_of_the_end_of_its_stream_is_no_waste() -> None:
    """Calls that end early while their bodies are on their way: many, as when requests are turned away."""
    streams = range(1, 2 * BURST, 2)
    calls = [frame(HEADERS, stream, plain(request("/no.Such/One")), END_HEADERS) for stream in streams]
    async with siege() as under:
        assert await under.attack(b"".join(calls)) is None
        assert (
            await under.attack(b"".join(frame(DATA, stream, bytes(16_000)) * 4 for stream in streams)) is None
        )
        await under.attacker.works()
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_data_on_skipped_streams() -> None:
    flood = b"".join(frame(DATA, stream, b"x") for stream in range(1, 2 * MANY, 2))
    async with siege() as under:
        await under.repelled(frame(HEADERS, 2 * MANY + 1, MUTE, END_HEADERS) + flood)


async def test_headers_of_a_stream_that_was_reset() -> None:
    bad = frame(HEADERS, 1, plain([*request(), ("Bad", "name")]), END_HEADERS)
    async with siege() as under:
        await under.repelled(bad + frame(HEADERS, 1, BLOCK, END_HEADERS) * MANY)


@pytest.mark.parametrize("part", [b"", b"x", bytes(16_384)])
async def test_continuation_flood(part: bytes) -> None:
    flood = frame(HEADERS, 1, BLOCK) + frame(CONTINUATION, 1, part) * (MANY if len(part) < 2 else 100)
    async with siege() as under:
        await under.repelled(flood)
        assert under.peak < MIB


async def test_a_window_that_changes_for_many_streams() -> None:
    """The price of SETTINGS grows with what they change."""
    async with siege(streams=1000) as under:
        opening = b"".join(frame(HEADERS, stream, MUTE, END_HEADERS) for stream in range(1, 2000, 2))
        assert await under.attack(opening) is None
        churn = settings((4, 10)) + settings((4, 20))
        assert await under.attack(churn) is None
        # A thousand streams are worth twenty frames.
        goodbye = await under.attack(churn * 5)
        assert goodbye is not None
        assert goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        await under.nobody_was_hurt()


async def test_a_setting_that_is_named_often_in_one_frame_is_applied_once() -> None:
    async with siege(streams=1000) as under:
        opening = b"".join(frame(HEADERS, stream, MUTE, END_HEADERS) for stream in range(1, 2000, 2))
        assert await under.attack(opening + settings(*[(4, 10), (4, 20)] * 1000)) is None
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_other_streams_of_the_connection_go_on_while_a_flood_is_forgiven() -> None:
    async with siege() as under:
        assert await under.attack(OPEN + frame(PING, 0, bytes(8)) * (BURST - 10)) is None
        await under.attacker.works()
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_what_was_spent_comes_back_with_time() -> None:
    async with siege(rate=1_000_000.0) as under:
        for _ in range(3):
            assert await under.attack(frame(PING, 0, bytes(8)) * 90) is None
        await under.nobody_was_hurt()
