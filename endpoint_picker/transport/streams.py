"""Streams and their states (RFC 9113, 5.1).

A stream is idle above the highest identifier that the peer has used, and closed below it unless it is among
those that are `open`; of these, `remote_done` and `local_done` say which side has ended.
"""

from collections import OrderedDict, deque
from typing import Final

from endpoint_picker.transport.frames import ConnectionFault, ErrorCode, StreamFault

REMEMBERED: Final = 16_384
"""Streams that we ended and still know: what their peer sent before it heard of it is no fault (5.1)."""

SMALL_DATA: Final = 4_096
"""Bytes of a window that a smaller frame costs, where it comes after the end of its stream."""


class Stream:
    """One stream that is open, or closed on one side."""

    __slots__ = (
        "answered",
        "declared",
        "id",
        "local_done",
        "moved_at",
        "outbox",
        "queued",
        "remote_done",
        "send_window",
        "taken",
        "trailers",
        "window",
    )

    def __init__(self, stream_id: int, window: int, send_window: int, declared: int | None) -> None:
        self.id = stream_id
        self.window = window
        """Bytes that the peer may still send."""
        self.taken = 0
        """Bytes that it sent and was not yet given leave for again."""
        self.declared = declared
        """Bytes of the body that are still to come, where the peer has said how many there are."""
        self.send_window = send_window
        """Bytes that we may still send; below zero after the peer has made its windows smaller (6.9.2)."""
        self.outbox: deque[memoryview | bytearray] = deque()
        """What waits for a window."""
        self.queued = 0
        """Bytes of it."""
        self.moved_at = 0.0
        """When some of it last left."""
        self.trailers = b""
        """The frame that ends our side, after all else."""
        self.remote_done = False
        """The peer has ended its side."""
        self.local_done = False
        """We have ended ours, though some of it may still wait."""
        self.answered = False
        """Something was sent on it."""

    def count(self, size: int, ends: bool) -> None:
        """Part of the body came. Raises StreamFault where it is not as long as declared (8.1.1)."""
        if self.declared is None:
            return
        self.declared -= size
        if self.declared < 0 or (ends and self.declared):
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "a body of another length than declared")


class Streams:
    """All streams of a connection."""

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        """Those that are not closed."""
        self.last_id = 0
        """The highest that the peer has used (5.1.1)."""
        self._ended: OrderedDict[int, int] = OrderedDict()
        """Those that ended from our side while the peer could still send → bytes that it may have sent before
        it heard of that."""

    def remember(self, stream_id: int, window: int = 0) -> None:
        """We have ended it; the window is left to its peer where that is not to blame."""
        self._ended[stream_id] = window
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def crosses(self, stream_id: int, *, last: bool = False) -> bool:
        """Whether its peer sent this before it heard of our end; `last`: it sends no more."""
        if stream_id not in self._ended:
            return False
        if last:
            del self._ended[stream_id]
        return True

    def check_headers(self, stream_id: int) -> None:
        """Whether a header section may begin: a new stream's, or an open one's trailers (5.1, 5.1.1)."""
        if stream_id in self.open or stream_id in self._ended:
            return
        if stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not a client's to open")
        if stream_id <= self.last_id:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"HEADERS on stream {stream_id}, which is closed")

    def check_not_idle(self, stream_id: int, what: str) -> None:
        """Only HEADERS and PRIORITY may come for a stream that is idle (5.1)."""
        if stream_id > self.last_id or stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on stream {stream_id}, which is idle")

    def stray(self, stream_id: int, size: int) -> bool:
        """DATA came after the end of a stream (5.1, 6.1): raises, unless it crossed our end of it.

        Answers whether its peer could not know better.
        """
        self.check_not_idle(stream_id, "DATA")
        left = self._ended.get(stream_id)
        if left is None:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "DATA on a stream that has ended")
        self._ended[stream_id] = left - max(size, SMALL_DATA)
        return left > 0
