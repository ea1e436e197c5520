"""Flow control in both directions (RFC 9113, 5.2 and 6.9): what a peer may still send, and what waits for it.

The two are one mechanism: a peer that does not take what it is sent gets no leave to send more, so that what
waits for it here stays within the limits, however long it sleeps.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from endpoint_picker.transport import frames
from endpoint_picker.transport.frames import HEADER, ConnectionFault, ErrorCode, StreamFault
from endpoint_picker.transport.limits import DEFAULT_FRAME, DEFAULT_WINDOW, LARGEST_WINDOW, Limits
from endpoint_picker.transport.streams import Stream

SHARED: Final = 1 << 10
"""Bytes of a message that waits, up to which it shares a buffer with others."""


class Windows:
    """What the peer may send: leave is given again for half a window at a time."""

    def __init__(self, limits: Limits) -> None:
        self.blocked = False
        """The socket takes nothing: nothing more is asked for."""
        self._limits = limits
        self._left = max(limits.connection_window, DEFAULT_WINDOW)  # no setting makes it smaller (6.9.2)
        self._taken = 0
        self._half = self._left // 2
        self._half_stream = max(limits.stream_window // 2, 1)

    def greeting(self) -> bytes:
        """Our SETTINGS, and the connection's window, which no setting tells (6.9.2)."""
        limits = self._limits
        ours = {
            frames.MAX_CONCURRENT_STREAMS: limits.streams,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window,
            frames.MAX_HEADER_LIST_SIZE: limits.header_list,
        }
        more = self._left - DEFAULT_WINDOW
        return frames.settings(ours) + (frames.window_update(0, more) if more else b"")

    def spend(self, size: int) -> bool:
        """The peer sent so much, on whatever stream; answers whether it is time to give leave for more.

        Raises ConnectionFault (6.9.1).
        """
        self._left -= size
        if self._left < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more than the connection's window allows")
        self._taken += size
        return self._taken >= self._half

    def spend_stream(self, stream: Stream, size: int) -> bool:
        """The same for one stream; raises StreamFault."""
        stream.window -= size
        if stream.window < 0:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "more than the window allows")
        stream.taken += size
        return stream.taken >= self._half_stream

    def widen(self, backlog: "Backlog") -> bytes:
        """Leave for what was taken, unless too much waits for the peer; empty when there is none to give."""
        if self._taken < self._half or self.blocked or backlog.queued > self._limits.connection_buffer:
            return b""
        more, self._taken = self._taken, 0
        self._left += more
        return frames.window_update(0, more)

    def widen_stream(self, stream: Stream) -> bytes:
        """The same for one stream."""
        if (
            stream.taken < self._half_stream
            or self.blocked
            or stream.remote_done
            or stream.queued > self._limits.stream_buffer
        ):
            return b""
        more, stream.taken = stream.taken, 0
        stream.window += more
        return frames.window_update(stream.id, more)


class Backlog:
    """What we may send, and what waits until we may; frames go to `out`."""

    def __init__(self, out: list[bytes | memoryview | bytearray]) -> None:
        self.blocked = False
        """The socket takes nothing."""
        self.frame = DEFAULT_FRAME
        """Largest payload that the peer takes (6.5.2)."""
        self.initial = DEFAULT_WINDOW
        """What we may send on a new stream (6.5.2)."""
        self.queued = 0
        """Bytes that wait, over all streams."""
        self.updates = 0
        """Small updates of windows that are no waste: clients send two, a stream's and the connection's, for
        each stream and each message."""
        self._out = out
        self._window = DEFAULT_WINDOW
        self._waiting: dict[int, Stream] = {}
        """Streams with something in their outbox."""
        self._ready: dict[int, Stream] = {}
        """Those of them that wait for the connection alone; served in turn, a frame each."""
        self.eased: list[Stream] = []
        """Streams whose outbox has become empty, until somebody has looked."""

    def send(self, stream: Stream, data: bytes, now: float) -> None:
        """Send now what may be sent, the rest later."""
        size = len(data)
        self.updates += 2
        if (
            not stream.queued
            and size <= stream.send_window
            and size <= self._window
            and size <= self.frame
            and not self.blocked
        ):
            stream.send_window -= size
            self._window -= size
            self._out += (HEADER.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.id), data)
            return
        if not stream.queued:
            stream.moved_at = now
            self._waiting[stream.id] = stream
        self._keep(stream.outbox, data)
        stream.queued += size
        self.queued += size
        self._push(stream)

    @staticmethod
    def _keep(outbox: deque[memoryview | bytearray], data: bytes) -> None:
        """Small messages share a buffer: one of their own is many times their size."""
        if len(data) > SHARED:
            outbox.append(memoryview(data))
            return
        last = outbox[-1] if outbox else None
        if isinstance(last, bytearray) and len(last) < DEFAULT_FRAME:
            last += data
        else:
            outbox.append(bytearray(data))

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """Send the frame that ends our side once nothing else waits."""
        if stream.queued:
            stream.trailers = trailers
        else:
            self._out.append(trailers)

    def drop(self, stream: Stream) -> None:
        """The stream is gone, and what waits with it."""
        self._waiting.pop(stream.id, None)
        self._ready.pop(stream.id, None)
        self.queued -= stream.queued
        stream.queued = 0
        stream.outbox.clear()

    def open_connection(self, increment: int, now: float) -> None:
        """6.9, on the connection."""
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        self._window += increment
        if self._window > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")  # 6.9.1
        self.pump(now)

    def open_stream(self, stream: Stream, increment: int, now: float) -> None:
        """6.9, on a stream."""
        if not increment:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")  # 6.9.1
        stream.moved_at = now
        self._push(stream)

    def resize(self, initial: int, streams: Iterable[Stream]) -> None:
        """The peer has another initial window: all its streams change by the difference (6.9.2)."""
        more, self.initial = initial - self.initial, initial
        for stream in streams:
            stream.send_window += more
            if stream.send_window > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1")
        for stream in list(self._waiting.values()):
            self._push(stream)

    def pump(self, now: float) -> None:
        """Send from those that wait for the connection, a frame of each in turn."""
        while self._ready and self._window > 0 and not self.blocked:
            stream = self._ready.pop(next(iter(self._ready)))
            if stream.send_window > 0:  # it may have shrunk since (6.9.2)
                stream.moved_at = now
                self._step(stream)
            if stream.queued and stream.send_window > 0:
                self._ready[stream.id] = stream

    def stalled(self, since: float) -> list[Stream]:
        """Streams of which nothing has left since then, though something waits."""
        return [stream for stream in self._waiting.values() if stream.moved_at < since]

    def _push(self, stream: Stream) -> None:
        """Send all that may be sent of one stream, unless others wait for the connection before it."""
        while stream.queued and stream.send_window > 0:
            if self._window <= 0 or self.blocked or stream.id in self._ready:
                self._ready[stream.id] = stream
                return
            self._step(stream)

    def _step(self, stream: Stream) -> None:
        """Send one frame."""
        size = min(self._window, stream.send_window, self.frame)
        head = stream.outbox.popleft()
        if len(head) > size:
            stream.outbox.appendleft(head[size:])
            head = head[:size]
        size = len(head)
        self._window -= size
        stream.send_window -= size
        stream.queued -= size
        self.queued -= size
        self._out += (HEADER.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.id), head)
        if not stream.queued:
            self._drained(stream)

    def _drained(self, stream: Stream) -> None:
        del self._waiting[stream.id]
        if stream.trailers:
            self._out.append(stream.trailers)
        self.eased.append(stream)
