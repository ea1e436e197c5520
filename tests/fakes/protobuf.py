"""Protobuf messages written field by field, so that a test says which numbers are on the wire."""

from typing import Final

_LENGTH: Final = 2
"""Wire type of what has a length: texts, bytes, messages, packed numbers."""


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all bytes but the last have the top bit."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field: a number, or what has a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _LENGTH) + varint(len(data)) + data


def packed(number: int, *values: int) -> bytes:
    """One field of many numbers."""
    return field(number, b"".join(map(varint, values)))


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    """A message as gRPC sends it."""
    return bytes([compressed]) + len(message).to_bytes(4) + message
