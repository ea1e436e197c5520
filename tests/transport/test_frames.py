import pytest
from hyperframe.frame import (
    FRAMES,
    Frame,
    GoAwayFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.transport import frames
from endpoint_picker.transport.frames import KINDS, ConnectionFault, ErrorCode, StreamFault
from tests.fakes.machine import parsed

STREAMS = st.integers(1, 2**31 - 1)


def only(data: bytes) -> Frame:
    (came,) = parsed(data)
    return came


def test_the_table_has_the_types_of_the_standard() -> None:
    assert {kind: row.name for kind, row in KINDS.items()} == {
        kind: FRAMES[kind].__name__.removesuffix("Frame").upper().replace("WINDOWUPDATE", "WINDOW_UPDATE")
        .replace("RSTSTREAM", "RST_STREAM").replace("PUSHPROMISE", "PUSH_PROMISE")
        for kind in range(10)
    }  # fmt: skip


@given(kind=st.integers(0, 9), flags=st.just(0), stream=STREAMS, payload=st.binary(max_size=40))
def test_a_header_says_what_follows(kind: int, flags: int, stream: int, payload: bytes) -> None:
    data = frames.frame(kind, flags, stream, payload)
    assert data[:3] == len(payload).to_bytes(3, "big")
    assert (data[3], data[4], data[5:9]) == (kind, flags, stream.to_bytes(4, "big"))
    assert data[9:] == payload


def test_a_length_takes_three_bytes() -> None:
    assert frames.frame(frames.DATA, 0, 1, bytes(0x012345))[:3] == b"\x01\x23\x45"


@given(stream=STREAMS, increment=st.integers(1, 2**31 - 1))
def test_window_update(stream: int, increment: int) -> None:
    came = only(frames.window_update(stream, increment))
    assert isinstance(came, WindowUpdateFrame)
    assert (came.stream_id, came.window_increment) == (stream, increment)


@given(stream=STREAMS, code=st.sampled_from(ErrorCode))
def test_rst_stream(stream: int, code: ErrorCode) -> None:
    came = only(frames.rst_stream(stream, code))
    assert isinstance(came, RstStreamFrame)
    assert (came.stream_id, came.error_code) == (stream, code)


@given(payload=st.binary(min_size=8, max_size=8), ack=st.booleans())
def test_ping(payload: bytes, ack: bool) -> None:
    came = only(frames.ping(payload, ack=ack))
    assert isinstance(came, PingFrame)
    assert (came.opaque_data, "ACK" in came.flags) == (payload, ack)


@given(last=st.integers(0, 2**31 - 1), reason=st.text())
def test_goaway(last: int, reason: str) -> None:
    came = only(frames.goaway(last, ErrorCode.CANCEL, reason))
    assert isinstance(came, GoAwayFrame)
    assert (came.last_stream_id, came.error_code) == (last, ErrorCode.CANCEL)
    assert reason.encode().startswith(came.additional_data)
    assert len(came.additional_data) <= 200


@given(values=st.dictionaries(st.integers(7, 0xFFFF), st.integers(0, 2**32 - 1)))
def test_settings(values: dict[int, int]) -> None:
    came = only(frames.settings(values))
    assert isinstance(came, SettingsFrame)
    assert came.settings == values


@given(data=st.binary(), padding=st.integers(0, 255))
def test_padding_is_taken_off(data: bytes, padding: int) -> None:
    assert frames.unpadded(frames.DATA, bytes([padding]) + data + bytes(padding)) == data


@given(size=st.integers(0, 255), over=st.integers(1, 255))
def test_padding_must_fit(size: int, over: int) -> None:
    with pytest.raises(ConnectionFault) as fault:
        frames.unpadded(frames.DATA, bytes([min(size + over, 255)]) + bytes(min(size, 254)))
    assert fault.value.code is ErrorCode.PROTOCOL_ERROR


@given(kind=st.sampled_from(sorted(KINDS)), stream=st.integers(0, 5), length=st.integers(0, 30))
def test_every_frame_is_checked_by_its_row(kind: int, stream: int, length: int) -> None:
    """Place goes before length; only PRIORITY harms its stream alone."""
    row = KINDS[kind]
    placed = row.place is frames.Place.BOTH or (row.place is frames.Place.STREAM) == (stream > 0)
    fault = caught(kind, stream, length)
    if not placed:
        assert isinstance(fault, ConnectionFault)
        assert fault.code is ErrorCode.PROTOCOL_ERROR
    elif not row.fits(length):
        assert isinstance(fault, StreamFault if kind == frames.PRIORITY else ConnectionFault)
        assert fault.code is ErrorCode.FRAME_SIZE_ERROR
    else:
        assert fault is None


def caught(kind: int, stream: int, length: int) -> ConnectionFault | StreamFault | None:
    try:
        frames.check(kind, stream, length)
    except (ConnectionFault, StreamFault) as fault:
        return fault
    return None
