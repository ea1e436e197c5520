"""RFC 9113, 5: states of streams, their identifiers, how many there may be, how errors are told."""

import asyncio
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame, SettingsFrame

from tests.fakes.http2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PRIORITISED,
    PRIORITY,
    UNKNOWN,
    WHOLE,
    Client,
    Response,
    frame,
    message,
    plain,
    request,
    rst_stream,
    settings,
    window_update,
)
from tests.fakes.talking import Talk, talking

MUTE = "/test.Talk/Mute"
OPEN, DONE, CLOSED, RESET, REFUSED, ENDED, SKIPPED, LAST, IDLE = 1, 3, 5, 7, 9, 11, 13, 15, 17
"""A stream in each state: open; half-closed by the client; closed; reset by the client; reset by the server
for a fault; ended by the server while it was open; skipped; the last one, open too; idle."""
SERVERS = 2
"""One that only a server could open."""


@pytest.fixture
async def seasoned(client: Client) -> Client:
    """A connection with a stream in each state."""
    # A first window that holds the answer back keeps the stream half-closed.
    await client.send(settings((4, 0)))
    await client.send(
        client.headers(OPEN), client.call(DONE), client.headers(CLOSED, request("/no.Such/One"))
    )
    await client.send(frame(DATA, CLOSED, b"", END_STREAM), client.headers(RESET), rst_stream(RESET))
    await client.send(client.headers(REFUSED, [*request(), ("Upper", "case")]))
    await client.send(client.headers(ENDED, request("/no.Such/One")), client.headers(LAST))
    await client.sync()
    return client


Case = Callable[[int], bytes]


def data(stream: int) -> bytes:
    return frame(DATA, stream, b"x")


def last_data(stream: int) -> bytes:
    return frame(DATA, stream, b"", END_STREAM)


def trailers(stream: int) -> bytes:
    return frame(HEADERS, stream, plain([("x", "y")]), WHOLE)


def opening(stream: int) -> bytes:
    return frame(HEADERS, stream, plain(request()), END_HEADERS)


def continuation(stream: int) -> bytes:
    return frame(CONTINUATION, stream, b"", END_HEADERS)


def update(stream: int) -> bytes:
    return window_update(stream, 1000)


def nothing_more(stream: int) -> bytes:
    return window_update(stream, 0)


def priority(stream: int) -> bytes:
    return frame(PRIORITY, stream, bytes(5))


def unknown(stream: int) -> bytes:
    return frame(UNKNOWN, stream, b"?")


# === connection errors ===


@pytest.mark.parametrize(
    ("case", "stream", "code"),
    [
        pytest.param(data, IDLE, ErrorCodes.PROTOCOL_ERROR, id="5.1-idle-data"),
        pytest.param(rst_stream, IDLE, ErrorCodes.PROTOCOL_ERROR, id="5.1-idle-rst-stream"),
        pytest.param(update, IDLE, ErrorCodes.PROTOCOL_ERROR, id="5.1-idle-window-update"),
        pytest.param(continuation, IDLE, ErrorCodes.PROTOCOL_ERROR, id="5.1-idle-continuation"),
        pytest.param(opening, SERVERS, ErrorCodes.PROTOCOL_ERROR, id="5.1-servers-idle-headers"),
        pytest.param(data, SERVERS, ErrorCodes.PROTOCOL_ERROR, id="5.1-servers-idle-data"),
        pytest.param(rst_stream, SERVERS, ErrorCodes.PROTOCOL_ERROR, id="5.1-servers-idle-rst-stream"),
        pytest.param(update, SERVERS, ErrorCodes.PROTOCOL_ERROR, id="5.1-servers-idle-window-update"),
        pytest.param(opening, IDLE + 1, ErrorCodes.PROTOCOL_ERROR, id="5.1.1-even-identifier"),
        pytest.param(opening, 0, ErrorCodes.PROTOCOL_ERROR, id="5.1.1-identifier-0"),
        pytest.param(opening, SKIPPED, None, id="5.1.1-lower-identifier"),
        pytest.param(opening, CLOSED, None, id="5.1.1-identifier-used-again"),
        pytest.param(opening, RESET, None, id="5.1-closed-by-the-client-headers"),
        pytest.param(continuation, OPEN, ErrorCodes.PROTOCOL_ERROR, id="5.1-open-continuation-of-nothing"),
    ],
)
async def test_ends_the_connection(seasoned: Client, case: Case, stream: int, code: int | None) -> None:
    await seasoned.send(case(stream))
    goodbye = await seasoned.over()
    assert goodbye is not None
    # 5.1.1 says PROTOCOL_ERROR, 5.1 says STREAM_CLOSED; 5.4 allows any that applies.
    allowed = {code} if code is not None else {ErrorCodes.PROTOCOL_ERROR, ErrorCodes.STREAM_CLOSED}
    assert goodbye.error_code in allowed
    assert goodbye.last_stream_id == LAST  # 5.4.1


# === stream errors ===


@pytest.mark.parametrize(
    ("case", "stream"),
    [
        pytest.param(data, DONE, id="5.1-half-closed-data"),
        pytest.param(last_data, DONE, id="5.1-half-closed-end"),
        pytest.param(trailers, DONE, id="5.1-half-closed-headers"),
        pytest.param(data, CLOSED, id="6.1-closed-data"),
        pytest.param(data, RESET, id="6.1-reset-by-the-client-data"),
        pytest.param(data, SKIPPED, id="6.1-skipped-data"),
    ],
)
async def test_is_the_fault_of_one_stream(seasoned: Client, case: Case, stream: int) -> None:
    await seasoned.send(case(stream), settings((4, 65_535)))
    response = seasoned.responses.setdefault(stream, Response())
    while response.reset is None:
        assert await seasoned.frame() is not None
    assert response.reset == ErrorCodes.STREAM_CLOSED
    await seasoned.works()


# === what is no error ===


@pytest.mark.parametrize(
    ("case", "stream"),
    [
        *(
            pytest.param(priority, stream, id=f"5.1-priority-in-any-state-{stream}")
            for stream in (OPEN, DONE, CLOSED, RESET, REFUSED, ENDED, SKIPPED, IDLE, SERVERS)
        ),
        *(
            pytest.param(unknown, stream, id=f"5.1-unknown-frame-in-any-state-{stream}")
            for stream in (0, OPEN, DONE, CLOSED, RESET, REFUSED, ENDED, SKIPPED, IDLE, SERVERS)
        ),
        *(
            pytest.param(update, stream, id=f"6.9-window-update-of-a-closed-stream-{stream}")
            for stream in (DONE, CLOSED, RESET, REFUSED, ENDED, SKIPPED)
        ),
        pytest.param(nothing_more, CLOSED, id="6.9-window-update-by-nothing-of-a-closed-stream"),
        pytest.param(rst_stream, CLOSED, id="5.1-closed-rst-stream"),
        pytest.param(rst_stream, RESET, id="5.1-reset-twice"),
        pytest.param(rst_stream, REFUSED, id="5.4.2-both-reset"),
        pytest.param(rst_stream, ENDED, id="5.1-ended-rst-stream"),
        *(
            pytest.param(case, stream, id=f"5.1-on-its-way-{case.__name__}-{stream}")
            for case in (data, last_data, trailers, opening)
            for stream in (REFUSED, ENDED)
        ),
    ],
)
async def test_is_no_error(seasoned: Client, case: Case, stream: int) -> None:
    before = len(seasoned.frames)
    await seasoned.send(case(stream), settings((4, 65_535)))
    await seasoned.works()
    answers = [came for came in seasoned.frames[before:] if came.stream_id == stream]
    assert not any(isinstance(came, RstStreamFrame) for came in answers)


async def test_5_1_a_reset_stream_says_nothing_more(seasoned: Client) -> None:
    await seasoned.send(rst_stream(DONE))
    await seasoned.sync()
    before = len(seasoned.frames)
    await seasoned.send(settings((4, 65_535)))
    await seasoned.works()
    assert not [came for came in seasoned.frames[before:] if came.stream_id == DONE]


async def test_5_1_half_closed_by_the_client_the_server_goes_on(seasoned: Client) -> None:
    assert not seasoned.responses[DONE].ended
    await seasoned.send(window_update(DONE, 100))
    response = await seasoned.response(DONE)
    assert (response.messages, response.status) == ([b"hello"], 0)


async def test_5_1_half_closed_by_the_server_the_client_is_told_to_stop(client: Client) -> None:
    """8.1: RST_STREAM with NO_ERROR after a whole response."""
    await client.send(client.headers(1, request("/test.Talk/First")), frame(DATA, 1, message(b"first")))
    assert (await client.response(1)).messages == [b"first"]
    await client.resets(1, ErrorCodes.NO_ERROR)


async def test_5_1_1_identifiers_may_be_skipped(client: Client) -> None:
    await client.send(client.call(5), client.call(99))
    assert (await client.response(5)).status == 0
    assert (await client.response(99)).status == 0


async def test_5_1_1_the_highest_identifier_can_be_used(client: Client) -> None:
    await client.send(client.call(2**31 - 1))
    assert (await client.response(2**31 - 1)).messages == [b"hello"]


async def test_5_1_2_streams_beyond_the_limit_are_refused(talk: Talk) -> None:
    async with talking(talk, streams=3) as (_, port):
        client = await (await Client.connect(port)).greet()
        told = next(came for came in client.frames if isinstance(came, SettingsFrame))
        assert told.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 3
        await client.send(*(client.headers(stream) for stream in (1, 3, 5, 7)))
        response = await client.response(7)
        assert response.reset == ErrorCodes.REFUSED_STREAM
        await client.send(frame(DATA, 1, message(b"one"), END_STREAM))
        assert (await client.response(1)).messages == [b"one"]  # and there is room again
        await client.send(client.call(9))
        assert (await client.response(9)).messages == [b"hello"]
        await client.close()


async def test_5_1_2_half_closed_streams_count(talk: Talk) -> None:
    async with talking(talk, streams=1) as (_, port):
        client = await (await Client.connect(port)).greet((4, 0))
        await client.send(client.call(1), client.call(3))
        assert (await client.response(3)).reset == ErrorCodes.REFUSED_STREAM
        await client.send(window_update(1, 100))
        assert (await client.response(1)).messages == [b"hello"]
        await client.close()


async def test_5_1_2_a_refused_stream_was_not_served(talk: Talk) -> None:
    """8.7: REFUSED_STREAM says so."""
    async with talking(talk, streams=1) as (_, port):
        client = await (await Client.connect(port)).greet()
        await client.send(client.headers(1), client.call(3))
        assert (await client.response(3)).reset == ErrorCodes.REFUSED_STREAM
        assert talk.opened == 1
        await client.close()


async def test_5_4_1_after_goaway_the_connection_is_closed_and_calls_with_it(
    client: Client, talk: Talk
) -> None:
    await client.send(client.headers(1), client.headers(3))
    await client.sync()
    await client.send(frame(DATA, 0, b"x"))
    await client.breaks(ErrorCodes.PROTOCOL_ERROR, last=3)
    assert (talk.opened, talk.closed) == (2, 2)


async def test_5_4_2_rst_stream_is_not_answered(client: Client) -> None:
    await client.send(client.headers(1), rst_stream(1), rst_stream(1))
    await client.sync()
    assert not [came for came in client.frames if isinstance(came, RstStreamFrame)]


async def test_5_4_2_a_fault_after_a_reset_is_not_reported_again(client: Client) -> None:
    await client.send(client.headers(1, [*request(), ("connection", "close")]))
    await client.send(frame(DATA, 1, b"x"), frame(DATA, 1, b"y"))
    await client.sync()
    assert len([came for came in client.frames if isinstance(came, RstStreamFrame)]) == 1


async def test_5_4_2_no_reset_is_sent_on_an_idle_stream(client: Client) -> None:
    """6.3 asks for a stream error, 6.4 forbids RST_STREAM: so it is one of the connection."""
    await client.send(frame(PRIORITY, 9, bytes(4)))
    await client.breaks(ErrorCodes.FRAME_SIZE_ERROR)
    assert not [came for came in client.frames if isinstance(came, RstStreamFrame)]


async def test_5_4_3_calls_end_with_their_connection(client: Client, talk: Talk) -> None:
    await client.send(client.headers(1), client.headers(3))
    await client.sync()
    await client.close()
    async with asyncio.timeout(2.0):
        while talk.closed < 2:
            await asyncio.sleep(0.005)


async def test_5_3_2_priorities_are_accepted_and_mean_nothing(client: Client) -> None:
    block = plain(request())
    itself = (1).to_bytes(4, "big") + b"\xff"
    await client.send(
        frame(HEADERS, 1, itself + block, END_HEADERS | PRIORITISED),
        frame(PRIORITY, 1, itself),
        frame(DATA, 1, message(b"hello"), END_STREAM),
    )
    assert (await client.response(1)).messages == [b"hello"]
