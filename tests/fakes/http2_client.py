"""A client of HTTP/2 that sends exactly the bytes it is told to, and checks whatever comes back.

It shares nothing with the server under test: frames are written by hand and read with the hyperframe
library, header blocks are hpack's. What a server must hold to in each frame (RFC 9113, 4.1, 4.2, 5.1, 5.4.2)
is asserted on all that arrive.
"""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import hpack
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = DataFrame.type
HEADERS: Final = HeadersFrame.type
PRIORITY: Final = PriorityFrame.type
RST_STREAM: Final = RstStreamFrame.type
SETTINGS: Final = SettingsFrame.type
PUSH_PROMISE: Final = PushPromiseFrame.type
PING: Final = PingFrame.type
GOAWAY: Final = GoAwayFrame.type
WINDOW_UPDATE: Final = WindowUpdateFrame.type
CONTINUATION: Final = ContinuationFrame.type
UNKNOWN: Final = 0xBE

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20
WHOLE: Final = END_HEADERS | END_STREAM

DEFINED_FLAGS: Final = {
    DATA: END_STREAM | PADDED,
    HEADERS: END_STREAM | END_HEADERS | PADDED | PRIORITISED,
    SETTINGS: ACK,
    PING: ACK,
}
"""Flags that mean something, by type (RFC 9113, 6); none on the others that a server sends."""

ECHO: Final = "/test.Talk/Echo"
Fields = list[tuple[str, str]]


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Any frame, valid or not."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)
    return frame(SETTINGS, 0, payload, flags)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: int = ErrorCodes.CANCEL) -> bytes:
    return frame(RST_STREAM, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: int = ErrorCodes.NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


def message(data: bytes, flag: int = 0) -> bytes:
    """With the prefix of gRPC."""
    return bytes([flag]) + len(data).to_bytes(4, "big") + data


def request(path: str = ECHO, *more: tuple[str, str]) -> Fields:
    """The header section of a gRPC call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


def plain(fields: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """A header block that neither uses nor changes the table of the connection."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)


def _string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    size = len(data)
    if size < 127:
        return bytes([size]) + data
    rest, head = size - 127, b"\x7f"
    while rest >= 128:
        head, rest = head + bytes([rest & 127 | 128]), rest >> 7
    return head + bytes([rest]) + data


@dataclass
class Response:
    """What came on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    sections: int = 0
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int | None:
        """Of gRPC; it stands in the header section where nothing else came."""
        text = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if text is None else int(text)

    @property
    def messages(self) -> list[bytes]:
        found, rest = [], bytes(self.body)
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.largest = 16_384
        """MAX_FRAME_SIZE that this side has told."""
        self.frames: list[Frame] = []
        """All that came; what says goodbye alone, unless `keeps`."""
        self.keeps = True
        self.tally: Counter[str] = Counter()
        """How many came, by type."""
        self.responses: dict[int, Response] = {}
        self._next = 1001

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext | None = None) -> "Client":
        """Without a word being said."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context))

    async def greet(self, *pairs: tuple[int, int]) -> "Client":
        """Both prefaces, and an acknowledgement each way."""
        await self.send(PREFACE, settings(*pairs))
        first = await self.frame()
        assert isinstance(first, SettingsFrame), "3.4: SETTINGS come first"
        assert "ACK" not in first.flags
        await self.settled()
        await self.send(settings(flags=ACK))
        return self

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    # === to the server ===

    async def send(self, *parts: bytes) -> None:
        """Write what can be written: a server that has had enough may be gone."""
        try:
            self.writer.write(b"".join(parts))
            await self.writer.drain()
        except ConnectionError:
            pass

    def headers(self, stream: int, fields: Fields | None = None, flags: int = END_HEADERS) -> bytes:
        """A header section in one frame; it changes the table."""
        return frame(HEADERS, stream, self.encoder.encode(request() if fields is None else fields), flags)

    def call(self, stream: int, data: bytes = b"hello", path: str = ECHO) -> bytes:
        """A whole call."""
        return self.headers(stream, request(path)) + frame(DATA, stream, message(data), END_STREAM)

    # === from the server ===

    async def frame(self) -> Frame | None:
        """The next one; None when the connection is over."""
        try:
            async with asyncio.timeout(3.0):
                head = await self.reader.readexactly(9)
                length = int.from_bytes(head[:3], "big")
                body = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        assert length <= self.largest, "4.2: larger than MAX_FRAME_SIZE"
        assert head[3] <= CONTINUATION, "5.5: of a type that was never agreed on"
        assert head[3] != PUSH_PROMISE, "6.6: nothing is pushed"
        assert not head[4] & ~DEFINED_FLAGS.get(head[3], 0), "4.1: unused flags are unset"
        assert not head[5] & 0x80, "4.1: the reserved bit is unset"
        came, _ = Frame.parse_frame_header(memoryview(head), strict=True)
        came.parse_body(memoryview(body))
        self.tally[type(came).__name__] += 1
        if self.keeps or isinstance(came, GoAwayFrame):
            self.frames.append(came)
            self._note(came)
        return came

    def _note(self, came: Frame) -> None:
        if not came.stream_id:
            return
        response = self.responses.setdefault(came.stream_id, Response())
        assert response.reset is None or isinstance(came, RstStreamFrame), "5.4.2: RST_STREAM is the last"
        if isinstance(came, RstStreamFrame):
            response.reset = came.error_code
        if isinstance(came, HeadersFrame):
            assert not response.ended, "5.1: HEADERS after the end"
            fields = {str(name): str(value) for name, value in self.decoder.decode(came.data)}
            response.sections += 1
            if response.sections == 1:
                response.headers = fields
            else:
                response.trailers = fields
        if isinstance(came, DataFrame):
            assert not response.ended, "5.1: DATA after the end"
            response.body += came.data
        response.ended = response.ended or "END_STREAM" in came.flags

    async def until(self, kind: type[Frame], stream: int | None = None) -> Frame:
        """The next frame of a kind."""
        while True:
            came = await self.frame()
            assert came is not None, f"the connection is over; it sent {self.frames[-3:]}"
            if isinstance(came, kind) and (stream is None or came.stream_id == stream):
                return came

    async def response(self, stream: int) -> Response:
        """All that comes on a stream, up to its end."""
        response = self.responses.setdefault(stream, Response())
        while not response.ended and response.reset is None:
            assert await self.frame() is not None, f"the connection is over; it sent {self.frames[-3:]}"
        return response

    async def settled(self) -> None:
        """Our settings are acknowledged."""
        while "ACK" not in (await self.until(SettingsFrame)).flags:
            pass

    async def sync(self) -> None:
        """All that was sent has been read, and its answers have come."""
        # Twice: a ping may be answered before the calls that came with it.
        for _ in range(2):
            await self.send(frame(PING, 0, b"in order"))
            while set((await self.until(PingFrame)).flags) != {"ACK"}:
                pass

    async def goodbye(self) -> GoAwayFrame:
        """The next GOAWAY."""
        came = await self.until(GoAwayFrame)
        assert isinstance(came, GoAwayFrame)
        return came

    async def over(self) -> GoAwayFrame | None:
        """Read to the end; answers the last goodbye."""
        while await self.frame() is not None:
            pass
        last = [came for came in self.frames if isinstance(came, GoAwayFrame)]
        return last[-1] if last else None

    # === what is expected ===

    async def breaks(self, code: int, last: int | None = None) -> None:
        """A connection error (5.4.1): GOAWAY with this code, and the end of the connection."""
        goodbye = await self.over()
        assert goodbye is not None, "no GOAWAY"
        assert ErrorCodes(goodbye.error_code) == code, goodbye.additional_data
        if last is not None:
            assert goodbye.last_stream_id == last

    async def resets(self, stream: int, code: int) -> None:
        """A stream error (5.4.2): RST_STREAM with this code, and other streams go on."""
        response = self.responses.setdefault(stream, Response())
        while response.reset is None:
            assert await self.frame() is not None, f"the connection is over; it sent {self.frames[-3:]}"
        assert ErrorCodes(response.reset) == code
        await self.works()

    async def works(self) -> None:
        """Another call on this connection is served."""
        stream, self._next = self._next, self._next + 2
        await self.send(self.call(stream, b"still here"))
        response = await self.response(stream)
        assert response.messages == [b"still here"]
        assert response.status == 0
