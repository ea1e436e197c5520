"""Envoy's side of an HTTP/2 connection, as far as a measurement needs it: the bytes of one request's frames.

Made beforehand, so that the time of making them is nobody's.
"""

from collections.abc import Iterator
from typing import Any, Final

from hpack import Encoder

from bench.samples import talk
from endpoint_picker.transport import frames
from endpoint_picker.transport.limits import DEFAULT_FRAME, LARGEST_WINDOW

HEADERS: Final = (
    (":method", "POST"),
    (":path", talk.METHOD),
    (":scheme", "http"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("x-envoy-internal", "true"),
    ("x-forwarded-for", "127.0.0.1"),
)
READ_BYTES: Final = 256 << 10
"""The most that the event loop hands on at once."""


class Envoy:
    """One connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._next_id = 1

    def greeting(self) -> bytes:
        """Preface and settings, with windows that nothing here fills, nor overfills by what it gives back."""
        settings = frames.settings({frames.INITIAL_WINDOW_SIZE: LARGEST_WINDOW})
        return frames.PREFACE + settings + frames.window_update(0, LARGEST_WINDOW // 2)

    def open(self) -> tuple[int, bytes]:
        """A new stream, and the frame that opens it."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        block = self._encoder.encode(HEADERS)
        return stream_id, frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)

    def say(self, stream_id: int, *messages: Any) -> bytes:
        """Messages, in as many frames as they need."""
        return b"".join(part for message in messages for part in _framed(stream_id, message))

    def end(self, stream_id: int) -> bytes:
        return frames.frame(frames.DATA, frames.END_STREAM, stream_id)

    def allow(self, size: int) -> bytes:
        """Give back what the picker has sent."""
        return frames.window_update(0, size)


def _framed(stream_id: int, message: Any) -> Iterator[bytes]:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    data = b"\0" + len(data).to_bytes(4, "big") + data
    for at in range(0, len(data), DEFAULT_FRAME):
        yield frames.frame(frames.DATA, 0, stream_id, data[at : at + DEFAULT_FRAME])


def reads(data: bytes) -> list[bytes]:
    """The bytes as they come out of a socket."""
    return [data[at : at + READ_BYTES] for at in range(0, len(data), READ_BYTES)]
