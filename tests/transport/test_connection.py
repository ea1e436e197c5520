"""The state machine by itself: nothing depends on how its input is cut, and no input is too much for it."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.transport.connection import Broken, Connection, Event, Received
from endpoint_picker.transport.frames import ErrorCode
from endpoint_picker.transport.limits import Limits
from tests.fakes.http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    UNKNOWN,
    WHOLE,
    WINDOW_UPDATE,
    frame,
    goaway,
    plain,
    request,
    rst_stream,
    window_update,
)
from tests.fakes.http2_client import settings as settings_frame
from tests.fakes.machine import Machine, parsed

BLOCK = plain(request())
KEPT = b"\x40\x01x\x03one"
CALL = frame(HEADERS, 1, BLOCK, END_HEADERS)

# === how the input is cut ===

SESSIONS = {
    "calls": [
        CALL,
        frame(DATA, 1, b"abc"),
        frame(HEADERS, 3, BLOCK + KEPT, WHOLE),
        frame(DATA, 1, b"\x02de\0\0", PADDED),
        frame(HEADERS, 5, BLOCK[:30]),
        frame(CONTINUATION, 5, BLOCK[30:60]),
        frame(CONTINUATION, 5, BLOCK[60:] + b"\xbe", END_HEADERS),
        frame(DATA, 1, b"", END_STREAM),
        frame(HEADERS, 5, plain([("x", "y")]), WHOLE),
    ],
    "control": [
        frame(PING, 0, b"12345678"),
        settings_frame((4, 1000)),
        CALL,
        window_update(0, 5000),
        window_update(1, 5000),
        frame(PRIORITY, 7, bytes(5)),
        frame(UNKNOWN, 1, b"what"),
        rst_stream(1),
        frame(PING, 0, b"87654321"),
        goaway(0),
    ],
    "faults": [
        CALL,
        frame(HEADERS, 3, plain([*request(), ("Bad", "name")]), END_HEADERS),
        frame(DATA, 3, b"late"),
        window_update(1, 0),
        frame(HEADERS, 5, BLOCK, WHOLE),
        frame(DATA, 5, b"late"),
        frame(PING, 0, bytes(9)),
        frame(PING, 0, bytes(8)),
    ],
}


def heard(parts: list[bytes]) -> tuple[list[Event], bytes, bool]:
    """What a connection makes of these parts."""
    connection, said = Connection(Limits(), 0.0), b""
    events: list[Event] = []
    for part in parts:
        events += connection.receive(part, 0.0)
        said += connection.take()
    return events, said, connection.closed


@pytest.mark.parametrize("session", SESSIONS)
@settings(max_examples=60, deadline=None)
@given(cuts=st.sets(st.integers(1, 500), max_size=30))
def test_bytes_may_come_in_any_parts(session: str, cuts: set[int]) -> None:
    data = b"".join([PREFACE, settings_frame(), settings_frame(flags=ACK), *SESSIONS[session]])
    ends = sorted(cut for cut in cuts if cut < len(data))
    parts = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert heard(parts) == heard([data])


@pytest.mark.parametrize("session", SESSIONS)
def test_bytes_may_come_one_by_one(session: str) -> None:
    data = b"".join([PREFACE, settings_frame(), settings_frame(flags=ACK), *SESSIONS[session]])
    assert heard([data[at : at + 1] for at in range(len(data))]) == heard([data])


# === what may come ===

KINDS = st.sampled_from(
    [DATA, HEADERS, PRIORITY, RST_STREAM, 4, 5, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, UNKNOWN]
)
PAYLOADS = st.one_of(
    st.binary(max_size=12),
    st.just(b""),
    st.just(BLOCK),
    st.just(BLOCK + KEPT),
    st.just(BLOCK + b"\xbe"),
    st.sampled_from([bytes(size) for size in (4, 5, 6, 8, 300)]),
    st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "big")),
)
FRAMES = st.builds(
    lambda kind, stream, payload, flags: frame(kind, stream, payload, flags),
    KINDS,
    st.integers(0, 7),
    PAYLOADS,
    st.sampled_from([0, 1, 4, 5, 8, 12, 13, 32, 37, 45]),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(FRAMES, max_size=25))
def test_whatever_comes_the_machine_answers_in_frames(parts: list[bytes]) -> None:
    """No error but the two that are meant; a stream opens and breaks once; after the end is silence."""
    machine = Machine()
    opened: set[int] = set()
    ended: set[int] = set()
    broken: set[int] = set()
    for part in parts:
        was_over = machine.over()
        for event in machine.feed(part):
            stream = event.stream_id
            assert not was_over
            assert stream not in broken
            if isinstance(event, Broken):
                broken.add(stream)
                continue
            assert stream not in ended
            assert (stream in opened) is isinstance(event, Received)
            opened.add(stream)
            if event.ends:
                ended.add(stream)
        assert not machine.over() or (machine.goodbye is not None and not machine.connection.streams.open)


@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=200))
def test_any_bytes_after_the_preface(noise: bytes) -> None:
    machine = Machine()
    machine.feed(noise)
    machine.wait(60.0)
    assert machine.over() or not noise


# === commands ===


def test_commands_on_streams_that_are_gone_say_nothing() -> None:
    machine = Machine()
    machine.feed(CALL, rst_stream(1))
    for stream in (1, 3):
        machine.connection.start(stream, b"\x88")
        machine.connection.send(stream, b"x")
        machine.connection.finish(stream, b"\x88")
        machine.connection.cancel(stream, ErrorCode.CANCEL)
    assert machine.take() == []


def test_the_first_block_says_that_our_table_is_empty_and_no_other_does() -> None:
    machine = Machine()
    machine.feed(CALL, frame(HEADERS, 3, BLOCK, END_HEADERS))
    for stream in (1, 3):
        machine.connection.start(stream, b"\x88")
    came = [each.data for each in machine.take() if isinstance(each, HeadersFrame)]
    assert came == [b"\x20\x88", b"\x88"]


def test_a_cancelled_stream_is_reset_with_its_reason() -> None:
    machine = Machine()
    machine.feed(CALL)
    machine.connection.cancel(1, ErrorCode.INTERNAL_ERROR)
    machine.take()
    assert machine.resets == {1: ErrorCodes.INTERNAL_ERROR}
    assert machine.feed(frame(DATA, 1, b"late")) == []


def test_an_end_waits_for_what_was_sent_before() -> None:
    machine = Machine((4, 2))
    machine.feed(CALL, frame(DATA, 1, b"", END_STREAM))
    machine.connection.send(1, b"four")
    machine.connection.finish(1, b"\x88")
    assert [type(came).__name__ for came in machine.take()] == ["DataFrame"]
    machine.feed(window_update(1, 2))
    assert [type(came).__name__ for came in machine.frames[-2:]] == ["DataFrame", "HeadersFrame"]
    assert not machine.connection.streams.open


# === the end ===


def told(machine: Machine) -> list[tuple[int, int]]:
    return [
        (came.last_stream_id, came.error_code) for came in machine.frames if isinstance(came, GoAwayFrame)
    ]


def test_a_goodbye_in_good_order() -> None:
    machine = Machine()
    machine.feed(CALL)
    machine.connection.leave()
    machine.connection.leave()
    ping = machine.take()[-1]
    assert isinstance(ping, PingFrame)
    machine.feed(frame(HEADERS, 3, BLOCK, END_HEADERS))
    machine.feed(frame(PING, 0, ping.opaque_data, ACK))
    assert told(machine) == [(2**31 - 1, 0), (3, 0)]
    assert machine.feed(frame(HEADERS, 5, BLOCK, END_HEADERS)) == []
    for stream in (1, 3):
        assert not machine.over()
        machine.feed(frame(DATA, stream, b"", END_STREAM))
        machine.connection.finish(stream, b"\x88")
        machine.take()
    assert machine.over()


def test_a_fault_after_a_goodbye_names_no_higher_stream() -> None:
    machine = Machine()
    machine.feed(CALL)
    machine.connection.leave()
    machine.take()
    machine.feed(frame(PING, 0, b"farewell", ACK))
    machine.feed(frame(HEADERS, 3, BLOCK, END_HEADERS), frame(PING, 0))
    assert told(machine) == [(2**31 - 1, 0), (1, 0), (1, ErrorCodes.FRAME_SIZE_ERROR)]


def test_a_goodbye_before_the_hello_is_the_end() -> None:
    connection = Connection(Limits(), 0.0)
    connection.leave()
    assert (connection.closed, connection.take()) == (True, b"")


def test_an_abandoned_connection_breaks_its_streams_once() -> None:
    machine = Machine()
    machine.feed(CALL)
    assert machine.connection.abandon() == [Broken(1, ErrorCode.CANCEL)]
    assert machine.connection.abandon() == []
    assert machine.feed(CALL) == []
    assert told(machine) == [(1, 0)]


def test_events_are_told_once() -> None:
    machine = Machine((4, 0), stall=10.0)
    machine.feed(CALL)
    machine.connection.send(1, b"x")
    assert machine.wait(12.0) == [Broken(1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert machine.feed(frame(PING, 0, bytes(8))) == []
    assert machine.connection.abandon() == []


def test_answers_that_are_not_read_end_the_connection() -> None:
    machine = Machine(unread=1000)
    machine.connection.block_output(True)
    for _ in range(100):
        machine.feed(frame(PING, 0, bytes(8)))
    assert machine.over()
    assert machine.goodbye is not None
    assert machine.goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM


def test_answers_that_are_read_at_last_do_not() -> None:
    machine = Machine(unread=1000)
    for _ in range(100):
        machine.connection.block_output(True)
        machine.feed(frame(PING, 0, bytes(8)) * 10)
        machine.connection.block_output(False)
    assert not machine.over()


def test_frames_are_read_by_the_same_eyes() -> None:
    """The helper of these tests knows frames from what it did not write itself."""
    assert [type(came) for came in parsed(frame(PING, 0, bytes(8)) + goaway(0))] == [PingFrame, GoAwayFrame]
    assert issubclass(PingFrame, Frame)
