"""Find the few events of a stream that matter, at almost no cost for the others.

Each token passes as an event, and a chunk may begin and end anywhere in one. A chunk that ends where an
event ends and does not have the word in it is dropped after a look; only the rest is taken to lines.
"""

from collections.abc import Callable
from typing import Final

LONGEST_LINE: Final = 1 << 20
"""Bytes; a longer line is skipped."""
MOST_JOINED: Final = 64 << 10
"""Bytes of the lines of one event that are held to be joined. Events of several lines are rare, while a
stream that never ends an event would fill this for each request."""
ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""How a chunk ends that ends with an event."""


class Events:
    """Hands on the data of the events that contain a word.

    A line of data that can be taken on its own is: servers that end an event with a single line end are
    common. Otherwise the lines of an event are joined, as the format says.
    """

    __slots__ = ("_after_cr", "_data", "_data_bytes", "_line", "_skips", "_take", "_word")

    def __init__(self, word: bytes, take: Callable[[bytes], bool]) -> None:
        """`take` answers whether it could make sense of the data."""
        self._word = word
        self._take = take
        self._line = bytearray()
        self._skips = False
        self._after_cr = False
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._word not in chunk and not self._line and not self._data and chunk.endswith(ENDS):
            self._skips = False
            return
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")  # the second half of a line end
        if chunk:
            self._read_lines(chunk)

    def end(self) -> None:
        """The stream is over: what is left counts as an event."""
        self._end_line(b"")
        self._end_event()

    def _read_lines(self, chunk: bytes) -> None:
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        rest = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        for line in lines:
            self._end_line(line)
        self._begin_line(rest)

    def _begin_line(self, part: bytes) -> None:
        if len(self._line) + len(part) > LONGEST_LINE:
            self._skips = True
            self._line.clear()
        if not self._skips:
            self._line += part

    def _end_line(self, line: bytes) -> None:
        if self._line or len(line) > LONGEST_LINE:
            self._begin_line(line)
            line = bytes(self._line)
            self._line.clear()
        if self._skips:
            self._skips = False
        elif not line:
            self._end_event()
        elif line.startswith(b"data:"):
            self._add(line[5:].removeprefix(b" "))

    def _add(self, data: bytes) -> None:
        if self._word in data and self._take(data):
            return
        self._data_bytes += len(data) + 1
        if self._data_bytes <= MOST_JOINED:
            self._data.append(data)

    def _end_event(self) -> None:
        # A single line has been tried on its own.
        if len(self._data) > 1 and self._data_bytes <= MOST_JOINED:
            joined = b"\n".join(self._data)
            if self._word in joined:
                self._take(joined)
        self._data.clear()
        self._data_bytes = 0
