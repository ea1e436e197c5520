"""The state machine of one HTTP/2 connection, the server's side: bytes in, events; commands, bytes out.

It does no I/O and waits for nothing; time is what it is told. `frames` has the rules of each kind of frame,
here are those that depend on what came before, each beside its section of RFC 9113.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from endpoint_picker.transport import frames
from endpoint_picker.transport.flow import Backlog, Windows
from endpoint_picker.transport.frames import (
    HEADER,
    HEADER_BYTES,
    PREFACE,
    STREAM_BITS,
    WORD,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from endpoint_picker.transport.headers import EMPTY_TABLE, Block, Decoder, Head, Malformed
from endpoint_picker.transport.limits import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    LARGEST_FRAME,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW,
    Limits,
)
from endpoint_picker.transport.patience import STREAMS_A_FRAME, Budget, Watch
from endpoint_picker.transport.streams import Stream, Streams

SETTINGS_BYTES: Final = 600
"""Of settings that are read in about the time that a frame takes."""
SMALL_UPDATE: Final = 256
"""Bytes; a window that opens in smaller steps makes frames that are mostly header."""
FAREWELL: Final = b"farewell"
"""Payload of the ping whose answer tells that our GOAWAY has arrived (6.8)."""
SIGN_OF_LIFE: Final = b"alive?\0\0"
HTTP1: Final = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
)
HTTP1_TEXT: Final = b"This port speaks gRPC over HTTP/2 only.\n"
HTTP1_ANSWER: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(HTTP1_TEXT), HTTP1_TEXT)
)


# === events ===


class Opened(NamedTuple):
    """A request: its stream, its header section, and whether that is all."""

    stream_id: int
    head: Head
    ends: bool


class Received(NamedTuple):
    """A part of a request's body, and whether it is the last."""

    stream_id: int
    data: bytes
    ends: bool


class Broken(NamedTuple):
    """A stream is over before its time; nothing can be sent on it any more."""

    stream_id: int
    code: int


Event = Opened | Received | Broken


class Connection:
    """One connection. After each call, `take` has what is to be sent; once `closed`, nothing is received."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.closed = False
        """Nothing is to be received any more: send what is left and close."""
        self.failure: ConnectionFault | None = None
        """Why, where the peer is to blame."""
        self.streams = Streams()
        self._limits = limits
        self._first_window = max(limits.stream_window, DEFAULT_WINDOW)
        self._now = now
        self._out: list[bytes | memoryview | bytearray] = []
        self._left = b""
        """The beginning of a frame whose rest has not come."""
        self._events: list[Event] = []
        self._decoder = Decoder(limits.header_list)
        self._windows = Windows(limits)
        self._backlog = Backlog(self._out)
        self._budget = Budget(limits, now)
        self._watch = Watch(limits, now)
        self._block: Block | None = None
        self._greeted = False
        """The preface has come."""
        self._leaving: int | None = None
        """The last stream that is still served, once either side has said goodbye (6.8)."""
        self._parted = False
        """Our GOAWAY that names it has been sent."""
        self._told_table = False
        self._unread = 0
        """Bytes given to a socket that takes nothing: all but bodies, which wait here."""
        self._on: tuple[Callable[[int, int, bytes], None], ...] = (
            self._data,
            self._headers,
            self._priority,
            self._rst_stream,
            self._settings,
            self._push_promise,
            self._ping,
            self._goaway,
            self._window_update,
            self._continuation,
        )

    # === bytes in ===

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what came; answers what it means. A fault of the peer ends the connection, or one stream."""
        if self.closed:
            return []
        self._now = now
        self._watch.heard(now)
        if self._left:
            data = self._left + data
        try:
            if self._unread > self._limits.unread:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "answers that are not read")  # 10.5
            at = self._read(data, 0 if self._greeted else self._greet(data))
            self._left = data[at:]
            self._watch.unfinished_since = (self._watch.unfinished_since or now) if self._left else None
        except ConnectionFault as fault:
            self._fail(fault)
        return self._happened()

    def _happened(self) -> list[Event]:
        """The events since the last call; they are not kept, for a connection may sleep for long."""
        events, self._events = self._events, []
        return events

    def _greet(self, data: bytes) -> int:
        """Check the preface (3.4); answers where the first frame begins."""
        if data.startswith(PREFACE):
            self._greeted = True
            self._out.append(self._windows.greeting())
            return len(PREFACE)
        if not PREFACE.startswith(data):
            if data.startswith(HTTP1):
                self._out.append(HTTP1_ANSWER)
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        return 0

    def _read(self, data: bytes, at: int) -> int:
        """Take the whole frames from there on; answers where the first one that is not whole begins."""
        if not self._greeted:
            return at
        end, largest = len(data), DEFAULT_FRAME
        while end - at >= HEADER_BYTES:
            high, low, kind, flags, stream_id = HEADER.unpack_from(data, at)
            length = high << 8 | low
            if length > largest:  # 4.2
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            after = at + HEADER_BYTES + length
            if after > end:
                break
            stream_id &= STREAM_BITS
            payload = data[at + HEADER_BYTES : after]
            try:
                if kind == frames.DATA and stream_id in self.streams.open and self._block is None:
                    self._data(flags, stream_id, payload)  # nearly always
                else:
                    self._frame(kind, flags, stream_id, payload)
            except StreamFault as fault:
                self._reset(fault.stream_id, fault.code)
            at = after
            self._watch.unfinished_since = None
        return at

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block.stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block that is not continued")  # 6.10
        if not self._watch.begun and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")  # 3.4
        if kind >= len(self._on):
            self._spend()  # unknown kinds mean nothing (4.1, 5.5)
            return
        frames.check(kind, stream_id, len(payload))
        self._on[kind](flags, stream_id, payload)

    # === kinds of frames ===

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.1; padding counts as data in the windows (6.9.1)."""
        size = len(payload)
        if self._windows.spend(size):
            self._widen()
        stream = self.streams.open.get(stream_id)
        if stream is None or stream.remote_done:
            if not self.streams.stray(stream_id, size):
                self._spend()
            return
        if self._windows.spend_stream(stream, size):
            self._widen_stream(stream)
        if flags & frames.PADDED:
            payload = frames.unpadded(frames.DATA, payload)
        ends = bool(flags & frames.END_STREAM)
        if not payload and not ends:
            self._spend()
        if stream.declared is not None:
            stream.count(len(payload), ends)
        self._events.append(Received(stream_id, payload, ends))
        if ends:
            self._remote_done(stream)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.2; a priority (RFC 9113, 5.3.2: deprecated) is left unread."""
        if flags & frames.PADDED:
            payload = frames.unpadded(frames.HEADERS, payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            payload = payload[5:]
        self.streams.check_headers(stream_id)
        self._watch.block_since = self._now
        self._block = Block(stream_id, bool(flags & frames.END_STREAM), self._limits)
        self._add_to_block(self._block, flags, payload)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.10."""
        if self._block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._add_to_block(self._block, flags, payload)

    def _add_to_block(self, block: Block, flags: int, payload: bytes) -> None:
        block.add(payload)
        if flags & frames.END_HEADERS:
            self._block = self._watch.block_since = None
            self._end_block(block.stream_id, block.whole(), block.ends)

    def _end_block(self, stream_id: int, block: bytes, ends: bool) -> None:
        """A header block is whole (4.3): it is decoded in any case, for the tables of both sides to agree."""
        stream = self.streams.open.get(stream_id)
        try:
            if stream is not None:
                self._trailers(stream, block, ends)
            elif self.streams.crosses(stream_id):
                self._decoder.skip(block)
                self._spend()
            else:
                self._open(stream_id, block, ends)
        except Malformed as error:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, str(error)) from error  # 8.1.1

    def _open(self, stream_id: int, block: bytes, ends: bool) -> None:
        self.streams.last_id = stream_id  # 5.1.1: all lower ones that are idle are closed now
        refused = self._leaving is not None and stream_id > self._leaving
        if refused or len(self.streams.open) >= self._limits.streams:
            self._decoder.skip(block)
            if not refused:  # 5.1.2
                raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
            self._spend()
            # 6.8: it will come again, on another connection.
            self.streams.remember(stream_id, self._limits.stream_window)
            return
        head = self._decoder.head(block)
        # Until our settings are taken, the peer goes by the default (6.5.3).
        window = self._limits.stream_window if self._watch.acknowledged else self._first_window
        stream = Stream(stream_id, window, self._backlog.initial, head.content_length)
        self.streams.open[stream_id] = stream
        self._backlog.updates += 2
        self._watch.idle_since = None
        stream.count(0, ends)
        self._events.append(Opened(stream_id, head, ends))
        if ends:
            self._remote_done(stream)

    def _trailers(self, stream: Stream, block: bytes, ends: bool) -> None:
        if stream.remote_done:
            self._decoder.skip(block)
            raise StreamFault(stream.id, ErrorCode.STREAM_CLOSED, "HEADERS after the end")  # 5.1
        self._decoder.trailers(block)
        if not ends:
            raise Malformed("a second header section that does not end the stream")  # 8.1
        stream.count(0, ends)
        self._events.append(Received(stream.id, b"", True))
        self._remote_done(stream)

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.3; deprecated, and allowed on any stream, whatever its state (5.3.2)."""
        self._spend()

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.4."""
        self.streams.check_not_idle(stream_id, "RST_STREAM")
        if self.streams.crosses(stream_id, last=True):
            return
        stream = self.streams.open.get(stream_id)
        if stream is None or not stream.answered:
            self._spend()  # opened for nothing
        if stream is not None:
            self._drop(stream)
            self._events.append(Broken(stream_id, WORD.unpack(payload)[0]))

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.5; taken in order, then acknowledged at once (6.5.3)."""
        if flags & frames.ACK:
            self._spend()
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            if not self._watch.begun:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first SETTINGS only acknowledge")  # 3.4
            self._watch.acknowledged = True
            return
        if self._watch.begun:
            self._spend(1.0 + len(payload) / SETTINGS_BYTES)
        self._watch.begun = True
        window = self._backlog.initial
        for key, value in frames.SETTING.iter_unpack(payload):
            self._set(key, value)
            window = value if key == frames.INITIAL_WINDOW_SIZE else window
        if window != self._backlog.initial:
            # Once, however often a frame names it: each change concerns all streams.
            self._spend(len(self.streams.open) / STREAMS_A_FRAME)
            self._backlog.resize(window, self.streams.open.values())
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _set(self, key: int, value: int) -> None:
        """6.5.2. Our blocks use no table, we push nothing and open no streams, so those settings say nothing
        to us; unknown ones are ignored."""
        if key == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if key == frames.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        if key == frames.MAX_FRAME_SIZE:
            if not DEFAULT_FRAME <= value <= LARGEST_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            self._backlog.frame = value

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")  # 8.4

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.7."""
        self._spend()
        if not flags & frames.ACK:
            self._out.append(frames.ping(payload, ack=True))
        elif payload == FAREWELL and self._leaving == LARGEST_STREAM_ID:
            self._leave_now()

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.8; the peer opens no more streams, and those that are open go on."""
        self._spend()
        if self._leaving is None:
            self._leaving = self.streams.last_id
        self._rest()

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        """6.9."""
        increment = WORD.unpack(payload)[0] & STREAM_BITS
        if increment >= SMALL_UPDATE:
            pass
        elif self._backlog.updates:
            self._backlog.updates -= 1
        else:
            self._spend()
        if not stream_id:
            self._backlog.open_connection(increment, self._now)
            return
        stream = self.streams.open.get(stream_id)
        if stream is None:
            self.streams.check_not_idle(stream_id, "WINDOW_UPDATE")
        else:
            self._backlog.open_stream(stream, increment, self._now)

    # === the end of streams ===

    def _remote_done(self, stream: Stream) -> None:
        stream.remote_done = True
        self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        """Forget a stream that has ended, once its last byte has been sent."""
        if not stream.local_done or stream.queued:
            return
        if not stream.remote_done:
            # We have said all, and wait for no more (8.1).
            self._out.append(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
            self.streams.remember(stream.id, stream.window)
        self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        self._backlog.drop(stream)
        self.streams.open.pop(stream.id, None)
        if not self.streams.open:
            self._watch.idle_since = self._now
        self._rest()

    def _reset(self, stream_id: int, code: ErrorCode) -> None:
        """A fault of the peer's ends a stream."""
        self._spend()
        if stream_id > self.streams.last_id or stream_id % 2 == 0:
            raise ConnectionFault(code, f"a fault on stream {stream_id}, which is idle")  # 6.4: no RST_STREAM
        stream = self.streams.open.get(stream_id)
        self._out.append(frames.rst_stream(stream_id, code))
        self.streams.remember(stream_id)
        if stream is not None:
            self._drop(stream)
            self._events.append(Broken(stream_id, code))

    # === the end of the connection ===

    def _spend(self, price: float = 1.0) -> None:
        self._budget.spend(self._now, price)

    def _fail(self, fault: ConnectionFault) -> None:
        """5.4.1."""
        self.failure = fault
        if self._greeted:
            self._goodbye(fault.code, fault.reason)
        self._close()

    def _goodbye(self, code: ErrorCode, reason: str = "") -> None:
        """GOAWAY with the last stream that was served: never a higher one than was said before (6.8)."""
        last = self.streams.last_id
        self._leaving = last if self._leaving is None else min(last, self._leaving)
        self._parted = True
        self._out.append(frames.goaway(self._leaving, code, reason))

    def _close(self) -> None:
        self.closed = True
        self._left = b""
        self._events += [Broken(stream_id, ErrorCode.CANCEL) for stream_id in self.streams.open]
        self.streams.open.clear()

    def _leave_now(self) -> None:
        """The last word (6.8): streams that the peer opened before it heard of our end are served."""
        self._goodbye(ErrorCode.NO_ERROR)
        self._rest()

    def _rest(self) -> None:
        """After a goodbye, the last stream ends the connection."""
        if self._leaving is not None and self._leaving != LARGEST_STREAM_ID and not self.streams.open:
            if not self._parted:
                self._goodbye(ErrorCode.NO_ERROR)
            self.closed = True

    # === commands ===

    def start(self, stream_id: int, block: bytes) -> None:
        """Send the header section of the answer."""
        if stream_id in self.streams.open:
            self._out.append(
                frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, self._indexed(block))
            )

    def send(self, stream_id: int, data: bytes) -> None:
        """Send a part of the answer, as soon as the windows allow it (6.9)."""
        stream = self.streams.open.get(stream_id)
        if stream is not None:
            stream.answered = True
            self._backlog.send(stream, data, self._now)

    def finish(self, stream_id: int, block: bytes) -> None:
        """Send trailers (or a header section that is all), after what still waits; ends our side."""
        stream = self.streams.open.get(stream_id)
        if stream is None:
            return
        stream.answered = stream.local_done = True
        flags = frames.END_HEADERS | frames.END_STREAM
        self._backlog.finish(stream, frames.frame(frames.HEADERS, flags, stream_id, self._indexed(block)))
        self._settle(stream)

    def cancel(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream at once, whatever is left."""
        stream = self.streams.open.get(stream_id)
        if stream is not None:
            self._out.append(frames.rst_stream(stream_id, code))
            self.streams.remember(stream_id)
            self._drop(stream)

    def leave(self) -> None:
        """End in good order: no new streams once the peer has heard of it, and those that are open go on."""
        if not self._greeted or self.closed:
            self.closed = True
        elif self._leaving is None:
            self._leaving = LARGEST_STREAM_ID
            self._watch.leaving_since = self._now
            self._out.append(frames.goaway(LARGEST_STREAM_ID, ErrorCode.NO_ERROR))
            self._out.append(frames.ping(FAREWELL, ack=False))

    def abandon(self) -> list[Event]:
        """End now; answers the streams that break."""
        if not self.closed:
            self._goodbye(ErrorCode.NO_ERROR)
            self._close()
        return self._happened()

    def block_output(self, blocked: bool) -> None:
        """The socket takes no more (or takes more again): bodies wait here, and their windows with them."""
        self._backlog.blocked = self._windows.blocked = blocked
        self._unread = 0
        if not blocked:
            self._backlog.pump(self._now)
            self._widen()
            for stream in self.streams.open.values():
                self._widen_stream(stream)

    def take(self) -> bytes:
        """What is to be sent now; empty when it is nothing."""
        if not self._out:
            return b""
        if self._backlog.eased:
            self._ease()
        data = b"".join(self._out)
        self._out.clear()
        if self._backlog.blocked:
            self._unread += len(data)
        return data

    def _ease(self) -> None:
        """Streams have got rid of what waited: they may go on, or are over."""
        for stream in self._backlog.eased:
            if stream.id in self.streams.open:  # the peer may have reset it since (6.4)
                self._widen_stream(stream)
                self._settle(stream)
        self._backlog.eased.clear()
        self._widen()

    def _widen(self) -> None:
        self._say(self._windows.widen(self._backlog))

    def _widen_stream(self, stream: Stream) -> None:
        self._say(self._windows.widen_stream(stream))

    def _say(self, frame: bytes) -> None:
        if frame:
            self._out.append(frame)

    def _indexed(self, block: bytes) -> bytes:
        if self._told_table:
            return block
        self._told_table = True
        return EMPTY_TABLE + block

    # === time ===

    def tick(self, now: float) -> list[Event]:
        """Look at what has lasted too long, about once a second; answers the streams that break."""
        self._now = now
        try:
            self._watch.check(now)
            for stream in self._backlog.stalled(now - self._limits.stall):
                self._reset(stream.id, ErrorCode.ENHANCE_YOUR_CALM)
        except ConnectionFault as fault:
            self._fail(fault)
            return self._happened()
        if self._watch.asks(now):
            self._out.append(frames.ping(SIGN_OF_LIFE, ack=False))
        if self._watch.idles(now):
            self.leave()
        if self._leaving == LARGEST_STREAM_ID and self._watch.waits(now):
            self._leave_now()
        return self._happened()
