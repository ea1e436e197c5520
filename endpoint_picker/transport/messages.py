"""gRPC messages in the body of a request, and the statuses that end calls.

Sources: the gRPC-over-HTTP/2 wire description and gRPC's list of status codes.
"""

import enum
import zlib
from collections.abc import Sequence
from typing import Final

PREFIX_BYTES: Final = 5
"""Before each message: a flag that says whether it is compressed, and its length in four bytes."""


class Code(enum.IntEnum):
    """How a call ends."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Status(Exception):
    """Ends a call with this code and a text for the peer."""

    def __init__(self, code: Code, message: str = "", *, http: bytes = b"200") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http
        """Status of the HTTP response, where no header section has been sent yet."""


class Room:
    """What messages that have not ended may take, over all calls of a connection."""

    __slots__ = ("_limit", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Raises Status when there is no more."""
        self.used += size
        if self.used > self._limit:
            raise Status(Code.RESOURCE_EXHAUSTED, "too many bytes of messages that do not end")


class Messages:
    """Takes messages out of the body of a request; a message may begin and end anywhere in it."""

    __slots__ = ("_begun", "_compressed", "_limit", "_need", "_room")

    def __init__(self, limit: int, room: Room, *, compressed: bool) -> None:
        self._limit = limit
        self._room = room
        self._compressed = compressed
        # One buffer and no list of parts: a part of one byte would cost fifty.
        self._begun = bytearray()
        self._need = PREFIX_BYTES
        """Bytes of it from which on there is something to do."""

    @property
    def held(self) -> int:
        """Bytes of a message that has not ended."""
        return len(self._begun)

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The messages that end in this part. Raises Status."""
        size = len(data)
        # Nearly always, a part is one whole message.
        if (
            not self._begun
            and size >= PREFIX_BYTES
            and not data[0]
            and int.from_bytes(data[1:PREFIX_BYTES], "big") + PREFIX_BYTES == size <= self._limit
        ):
            return (data[PREFIX_BYTES:],)
        self._begun += data
        self._room.take(size)
        return self._split() if len(self._begun) >= self._need else ()

    def close(self) -> None:
        """Nothing more comes: let go of what was begun."""
        self._room.used -= len(self._begun)
        self._begun.clear()

    def _split(self) -> list[bytes]:
        found, at, view = [], 0, memoryview(self._begun)
        with view:
            while len(view) - at >= PREFIX_BYTES:
                length = int.from_bytes(view[at + 1 : at + PREFIX_BYTES], "big")
                if length > self._limit:
                    raise _too_large(self._limit)
                self._need = PREFIX_BYTES + length
                if len(view) - at < self._need:
                    break
                found.append(self._message(view[at], bytes(view[at + PREFIX_BYTES : at + self._need])))
                at += self._need
                self._need = PREFIX_BYTES
        del self._begun[:at]
        self._room.used -= at
        return found

    def _message(self, flag: int, data: bytes) -> bytes:
        if not flag:
            return data
        if flag > 1:
            raise Status(Code.INTERNAL, f"a message begins with {flag} where 0 or 1 belongs")
        if not self._compressed:
            raise Status(Code.INTERNAL, "a compressed message, though no grpc-encoding was given")
        return _inflated(data, self._limit)


def _inflated(data: bytes, limit: int) -> bytes:
    """A gzip stream unpacked, but not beyond the limit: a kilobyte can hold a megabyte."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        message = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise Status(Code.INTERNAL, f"a message that is not gzip: {error}") from error
    if len(message) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise Status(Code.INTERNAL, "a compressed message that breaks off")
    return message


def _too_large(limit: int) -> Status:
    return Status(
        Code.RESOURCE_EXHAUSTED,
        f"a message of more than {limit} bytes; the operator can raise --grpc-max-recv-msg-size",
    )
