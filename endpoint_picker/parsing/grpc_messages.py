"""Messages in gRPC's frames: five bytes (compressed or not, and a length), then the message.

A request is one message. A response is any number of them, and its chunks end anywhere; most messages carry
a token, so they are read and dropped as they pass.
"""

from collections.abc import Callable
from typing import Final

from endpoint_picker.core.request import Usage
from endpoint_picker.parsing.usage import merged

HEADER: Final = 5
"""Bytes in front of a message."""
LARGEST: Final = 1 << 20
"""Bytes of a message of a response; a larger one is skipped."""


def only_message(body: bytes) -> bytes:
    """The message of a request body. Raises ValueError where it is not whole, or is compressed."""
    if len(body) < HEADER:
        raise ValueError(f"a frame begins with {HEADER} bytes, {len(body)} are there")
    if body[0]:
        raise ValueError("the message is compressed")
    end = HEADER + int.from_bytes(body[1:HEADER])
    if len(body) < end:
        raise ValueError(f"the frame has {end} bytes, {len(body)} are there")
    return body[HEADER:end]


class Frames:
    """Cuts the chunks of a response into messages; those that are large or compressed are left out."""

    __slots__ = ("_held", "_skipping")

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = 0
        """Bytes still to come of a message that is left out."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that the chunk completes."""
        skipped = min(self._skipping, len(chunk))
        self._skipping -= skipped
        self._held += chunk[skipped:] if skipped else chunk
        found: list[bytes] = []
        at = 0
        while len(self._held) - at >= HEADER:
            size = int.from_bytes(self._held[at + 1 : at + HEADER])
            end = at + HEADER + size
            if size > LARGEST:
                self._skipping = max(0, end - len(self._held))
            elif end > len(self._held):
                break
            elif not self._held[at]:
                found.append(bytes(self._held[at + HEADER : end]))
            at = min(end, len(self._held))
        del self._held[:at]
        return found


class MessageReader:
    """A usage reader: what the messages of a response report, of each number the last."""

    __slots__ = ("_frames", "_read", "_usage")

    def __init__(self, read: Callable[[bytes], Usage]) -> None:
        """`read` makes sense of one message. Raises ValueError when it cannot."""
        self._frames = Frames()
        self._read = read
        self._usage = Usage()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for message in self._frames.feed(chunk):
            try:
                self._usage = merged(self._usage, self._read(message))
            except ValueError:
                continue

    def finish(self) -> Usage:
        """The numbers that came last."""
        return self._usage
