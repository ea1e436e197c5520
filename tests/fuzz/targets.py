"""One function for each part: any bytes, and what must hold of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import hpack
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import DataFrame, Frame

from endpoint_picker.extproc import codec
from endpoint_picker.extproc.messages import Incoming
from endpoint_picker.transport import frames
from endpoint_picker.transport.calls import Calls, Say, Services
from endpoint_picker.transport.connection import Connection
from endpoint_picker.transport.frames import ConnectionFault
from endpoint_picker.transport.headers import Decoder, Head, Malformed
from endpoint_picker.transport.limits import Limits
from endpoint_picker.transport.messages import Messages, Room, Status

LIMITS: Final = Limits(
    message=4096,
    assembling=8192,
    header_list=4096,
    continuations=4,
    streams=8,
    stream_window=70_000,
    connection_window=100_000,
    stream_buffer=10_000,
    connection_buffer=50_000,
    burst=200,
    rate=10.0,
)
MOST_HELD: Final = 1 << 20
"""Bytes that one connection with these limits may keep: windows, buffers, and room to spare."""
PATH: Final = "/echo"
REQUEST: Final = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    ("content-type", "application/grpc"),
]


class Source:
    """Decisions and bytes, taken from the front of what the fuzzer gives."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, below: int) -> int:
        size = 1 if below <= 256 else 4
        return int.from_bytes(self.take(size), "big") % below

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        self._at += size
        return part


# === frames ===


class Echo:
    """Answers each message with itself."""

    finished = False
    waits = False

    def __init__(self) -> None:
        self.closed = 0

    def receive(self, message: bytes) -> tuple[bytes]:
        return (message,)

    def half_close(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        self.closed += 1


def connection(data: bytes) -> None:
    """A connection takes any bytes: it says only whole frames, keeps little, and closes each call once."""
    source = Source(data)
    began: list[Echo] = []
    machine = Connection(LIMITS, 0.0)

    def begin(_: Say) -> Echo:
        began.append(Echo())
        return began[-1]

    services: Services = {PATH: begin}
    calls = Calls(machine, services, LIMITS, lambda seconds, call: lambda: None)
    now, said = 0.0, b""
    for part in _stream(source):
        now += source.number(4) * 0.5
        calls.handle(machine.receive(part, now))
        if source.number(8) == 0:
            calls.handle(machine.tick(now))
        if source.number(16) == 0:
            machine.block_output(bool(source.number(2)))
        said += machine.take()
        assert _held(machine) < MOST_HELD
    calls.handle(machine.abandon())
    said += machine.take()
    assert len(calls) == 0
    assert all(call.closed == 1 for call in began)
    _check_said(said)


def _stream(source: Source) -> Iterator[bytes]:
    """What a peer sends: a good beginning or none, then frames, good, damaged or none at all."""
    encoder = hpack.Encoder()
    if source.number(8):
        yield frames.PREFACE + frames.settings({})
    while source:
        yield _part(source, encoder)


def _part(source: Source, encoder: hpack.Encoder) -> bytes:
    kind, flags, stream_id = source.number(12), source.number(256), source.number(12)
    match source.number(6):
        case 0:
            return source.take(source.number(64))
        case 1:
            return frames.frame(
                frames.HEADERS, flags | frames.END_HEADERS, stream_id, encoder.encode(REQUEST)
            )
        case 2:
            message = source.take(source.number(200))
            whole = b"\0" + len(message).to_bytes(4, "big") + message
            return frames.frame(frames.DATA, flags & frames.END_STREAM, stream_id, whole)
        case 3:
            return frames.window_update(stream_id, source.number(1 << 31))
        case 4:
            return frames.settings({source.number(8): source.number(1 << 32)})
        case _:
            return frames.frame(kind, flags, stream_id, source.take(source.number(80)))


def _held(machine: Connection) -> int:
    """Bytes that wait in the machine for its peer, or for the rest of a frame."""
    return len(machine._left) + machine._backlog.queued + sum(map(len, machine._out))


def _check_said(said: bytes) -> None:
    """An independent reader understands every frame."""
    if said.startswith(b"HTTP/1.1 505"):
        return
    while said:
        frame, length = Frame.parse_frame_header(memoryview(said[:9]))
        assert len(said) >= 9 + length
        try:
            frame.parse_body(memoryview(said[9 : 9 + length]))
        except HyperframeError as error:
            raise AssertionError(f"we said {said[: 9 + length]!r}") from error
        assert not isinstance(frame, DataFrame) or length <= frames.STREAM_BITS
        said = said[9 + length :]


# === header blocks ===


def header_blocks(data: bytes) -> None:
    """Blocks of one connection mean what the library says without our memory of earlier ones."""
    source = Source(data)
    ours, theirs = Decoder(4096), hpack.Decoder(4096)
    earlier = [b"\x82\x86\x84"]
    while source:
        again = source.number(3) == 0
        block = earlier[source.number(len(earlier))] if again else source.take(source.number(60))
        try:
            expected: list[Any] | None = list(theirs.decode(block, raw=True))
        except Exception:
            expected = None
        try:
            head = ours.head(block)
        except Malformed:
            assert expected is not None
        except ConnectionFault:
            assert expected is None
            return
        else:
            assert expected is not None
            _check_head(head, [(field[0], field[1]) for field in expected])
        earlier.append(block)


def _check_head(head: Head, expected: list[tuple[bytes, bytes]]) -> None:
    assert [field for field in expected if not field[0].startswith(b":")] == list(head.fields)
    assert dict(expected)[b":method"] == head.method
    assert dict(expected).get(b":path", b"") == head.path


# === gRPC messages ===


def messages(data: bytes) -> None:
    """Messages come out the same however the body is cut, and the room for them is given back."""
    source = Source(data)
    compressed = bool(source.number(2))
    whole = b"".join(_message(source) for _ in range(source.number(6))) + source.take(source.number(40))
    room = Room(8192)
    assert _fed([whole], Room(8192), compressed) == _fed(list(_cut(source, whole)), room, compressed)
    assert room.used == 0


def _message(source: Source) -> bytes:
    data = source.take(source.number(100))
    return bytes([source.number(3)]) + len(data).to_bytes(4, "big") + data


def _cut(source: Source, whole: bytes) -> Iterator[bytes]:
    while whole:
        size = 1 + source.number(20)
        yield whole[:size]
        whole = whole[size:]


def _fed(parts: list[bytes], room: Room, compressed: bool) -> list[bytes] | None:
    """The messages; None where the body is refused."""
    reader = Messages(4096, room, compressed=compressed)
    found: list[bytes] = []
    try:
        for part in parts:
            found += reader.feed(part)
    except Status:
        return None
    finally:
        reader.close()
    return found


# === ext_proc messages ===


def conversation(data: bytes) -> None:
    """What is read by hand is what the generated code reads."""
    try:
        expected: Incoming | None = codec._decode(data)
    except codec.Malformed:
        expected = None
    try:
        found: Incoming | None = codec.decode(data)
    except codec.Malformed:
        found = None
    assert found == expected


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "connection": connection,
    "header-blocks": header_blocks,
    "messages": messages,
    "conversation": conversation,
}
