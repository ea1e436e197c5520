"""The least of HTTP/1.1 that both ends of a measurement need: where a message ends.

Client and replicas share two cores with what they measure, so neither can afford a real HTTP library. Their
peers are Envoy and the picker, which frame correctly; nothing here would survive the open network.
"""

import re
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
"""Ends a chunked body. Our bodies are JSON and events, which cannot contain it."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Message:
    """One message as it arrives."""

    __slots__ = ("_begun", "_left", "_tail", "head")

    def __init__(self) -> None:
        self.head = b""
        """First line and fields, once they are all there."""
        self._begun = b""
        self._left: int | None = 0
        """Bytes of the body to come; None where its end shows in its bytes."""
        self._tail = b"\r\n"
        """The last bytes so far: the mark of the end may come in two parts."""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; answers whether the message is complete."""
        if self.head:
            return self._ended(data)
        self._begun += data
        head, ended, rest = self._begun.partition(_HEAD_END)
        if not ended:
            return False
        self._begin(head)
        return self._ended(rest)

    def _begin(self, head: bytes) -> None:
        self.head, self._begun = head, b""
        length = _LENGTH.search(head)
        self._left = None if _CHUNKED.search(head) else int(length[1]) if length else 0

    def _ended(self, data: bytes) -> bool:
        if self._left is not None:
            self._left -= len(data)
            return self._left <= 0
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        return self._tail == _LAST_CHUNK
