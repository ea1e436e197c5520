"""Header blocks: from bytes to a request that is well-formed, and back (RFC 7541; RFC 9113, 8).

A proxy sends nearly the same block with each request, and most of it by reference to the table that both
sides keep. A block that leaves the table as it was means the same the next time, so what it means is
remembered until the table changes: a lookup in place of a dozen decoded fields.

We send with an empty table (its size is set to nothing in our first block, RFC 7541, 4.2), so that our
blocks mean the same on each connection, and each is encoded once in the life of the process.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import hpack

from endpoint_picker.transport.frames import ConnectionFault, ErrorCode
from endpoint_picker.transport.limits import Limits

Field = tuple[bytes, bytes]

EMPTY_TABLE: Final = b"\x20"
"""Sets the size of our table to 0; stands before our first block."""
REMEMBERED: Final = 64
"""Blocks whose meaning is kept for a connection."""
LONGEST_REMEMBERED: Final = 1 << 10
"""Bytes of a block: what repeats is short."""

_NAME: Final = re.compile(rb":?[!-9;-@\[-~]+")
"""Neither control characters, space, upper case nor, but for the first place, a colon (8.2.1)."""
_VALUE: Final = re.compile(rb"(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?", re.DOTALL)
"""No NUL, no line end, no white space at either end (8.2.1)."""
_OF_A_CONNECTION: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
"""Fields of HTTP/1.1 that have no meaning here (8.2.2)."""
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
_REQUIRED: Final = (b":method", b":scheme", b":path")


class Malformed(Exception):
    """The fields are no request (8.1.1): the fault of their stream."""


@dataclass(frozen=True, slots=True)
class Head:
    """The header section of a request."""

    method: bytes
    path: bytes
    fields: tuple[Field, ...]
    """All but the pseudo-header fields, in order."""
    content_length: int | None

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field; the name is in lower case."""
        return next((value for key, value in self.fields if key == name), None)


class Block:
    """A header block that comes in parts (RFC 9113, 4.3); nothing but these limits would end it."""

    def __init__(self, stream_id: int, ends: bool, limits: Limits) -> None:
        self.stream_id = stream_id
        self.ends = ends
        """It ends the stream, too."""
        self._limits = limits
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Raises ConnectionFault when it becomes too long, or comes in too many parts."""
        self._parts.append(part)
        self._size += len(part)
        if len(self._parts) > self._limits.continuations + 1 or self._size > self._limits.header_list:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"a header block of more than {self._size} bytes"
            )

    def whole(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class Decoder:
    """Decodes the blocks of one connection, in the order in which they came."""

    def __init__(self, largest_list: int) -> None:
        self._hpack = hpack.Decoder(largest_list)
        self._heads: dict[bytes, Head] = {}
        """Blocks that changed nothing in the table, as it is now."""

    def head(self, block: bytes) -> Head:
        """The header section of a request. Raises Malformed, ConnectionFault."""
        found = self._heads.get(block)
        if found is not None:
            return found
        fields, unchanged = self._decode(block)
        head = request(fields)
        if unchanged and len(block) <= LONGEST_REMEMBERED and len(self._heads) < REMEMBERED:
            self._heads[block] = head
        return head

    def trailers(self, block: bytes) -> None:
        """What a trailer section says means nothing to us, but it must be one. Raises as `head`."""
        fields, _ = self._decode(block)
        for name, value in fields:
            if name.startswith(b":"):
                raise Malformed(f"the pseudo-header field {_shown(name)} in trailers")  # 8.1
            _check(name, value)

    def skip(self, block: bytes) -> None:
        """Keep the table true, whatever the block says. Raises ConnectionFault."""
        self._decode(block)

    def _decode(self, block: bytes) -> tuple[list[Field], bool]:
        """The fields, and whether the table is as it was."""
        table = self._hpack.header_table
        before = table.maxsize, len(table.dynamic_entries), self._newest()
        fields = self._fields(block)
        size, length, newest = before
        # Each insertion makes a new first entry: equal ones are not the same.
        if newest is self._newest() and (size, length) == (table.maxsize, len(table.dynamic_entries)):
            return fields, True
        self._heads.clear()
        return fields, False

    def _newest(self) -> object:
        entries = self._hpack.header_table.dynamic_entries
        return entries[0] if entries else None

    def _fields(self, block: bytes) -> list[Field]:
        try:
            return list(self._hpack.decode(block, raw=True))
        except hpack.OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except (hpack.HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"no header block: {error}") from error  # 4.3


def request(fields: Iterable[Field]) -> Head:
    """The fields as a request (8.3.1). Raises Malformed."""
    pseudo: dict[bytes, bytes] = {}
    plain: list[Field] = []
    for name, value in fields:
        _check(name, value)
        if not name.startswith(b":"):
            plain.append((name, value))
        elif plain:
            raise Malformed(f"{_shown(name)} after a field that is none of the pseudo-header fields")  # 8.3
        elif name in pseudo or name not in _PSEUDO:
            raise Malformed(f"the pseudo-header field {_shown(name)} twice, or unknown")  # 8.3
        else:
            pseudo[name] = value
    _check_target(pseudo)
    return Head(pseudo[b":method"], pseudo.get(b":path", b""), tuple(plain), _content_length(plain))


def _check(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise Malformed(f"a character that the field {_shown(name)} may not have")  # 8.2.1
    if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
        raise Malformed(f"{_shown(name)}, a field of HTTP/1.1 connections")  # 8.2.2


def _check_target(pseudo: dict[bytes, bytes]) -> None:
    """Which pseudo-header fields there must be (8.3.1, 8.5; RFC 8441, 4)."""
    connects = pseudo.get(b":method") == b"CONNECT"
    if b":protocol" in pseudo:
        raise Malformed(":protocol, though extended CONNECT is not offered")
    if connects:
        if b":authority" not in pseudo or b":scheme" in pseudo or b":path" in pseudo:
            raise Malformed("CONNECT takes :authority, and neither :scheme nor :path")
        return
    missing = next((name for name in _REQUIRED if not pseudo.get(name)), None)
    if missing is not None:
        raise Malformed(f"no {_shown(missing)}")
    path = pseudo[b":path"]
    if not path.startswith(b"/") and not (path == b"*" and pseudo[b":method"] == b"OPTIONS"):
        raise Malformed("a :path that does not begin with a slash")
    if b"@" in pseudo.get(b":authority", b""):
        raise Malformed("user information in :authority")


def _content_length(fields: list[Field]) -> int | None:
    """What the client says that its body has; different values are malformed (8.1.1; RFC 9110, 8.6)."""
    values = {value for name, value in fields if name == b"content-length"}
    if not values:
        return None
    value = values.pop()
    if values or not value.isdigit() or len(value) > 19:
        raise Malformed("a content-length that is no number, or several")
    return int(value)


def _shown(name: bytes) -> str:
    return repr(name[:40])[1:]


# === what we send ===


@lru_cache(maxsize=256)
def encode(fields: tuple[Field, ...]) -> bytes:
    """A block for these fields."""
    return bytes(_ENCODER.encode(fields, huffman=False))


def _encoder() -> hpack.Encoder:
    """One that keeps nothing, so that no block depends on those before it."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    encoder.encode(())  # tells of the size, once: each connection says it by itself
    return encoder


_ENCODER: Final = _encoder()
