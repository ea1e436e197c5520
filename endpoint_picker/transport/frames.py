"""The frames of HTTP/2, as a table: where each may stand, how long it must be (RFC 9113, 4 and 6).

What holds for a kind of frame whatever the state of the connection is checked here; what depends on the
state is the machine's (`connection`).
"""

import enum
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (3.4)."""
HEADER: Final = struct.Struct(">HBBBL")
"""The nine bytes before each payload (4.1): length in two fields, type, flags, stream."""
HEADER_BYTES: Final = HEADER.size
WORD: Final = struct.Struct(">L")
SETTING: Final = struct.Struct(">HL")
STREAM_BITS: Final = (1 << 31) - 1
"""Of a stream identifier or a window increment; the first bit is reserved and means nothing."""

# Plain numbers and no enumerations: they are compared for each frame.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20
"""The flag named PRIORITY, on HEADERS."""

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends (7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFault(Exception):
    """The peer broke a rule of the whole connection (5.4.1): GOAWAY, and the end."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """The peer broke a rule of one stream (5.4.2): RST_STREAM, and the others go on."""

    def __init__(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.stream_id = stream_id
        self.code = code
        self.reason = reason


class Place(enum.Enum):
    """Which stream identifiers a kind of frame may carry."""

    STREAM = "a stream"
    CONNECTION = "the connection"
    BOTH = "a stream or the connection"


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table."""

    name: str
    place: Place
    fits: Callable[[int], bool] = lambda length: True
    """Whether a payload may have this length."""
    harmless: bool = False
    """A wrong length is the fault of the stream alone."""


KINDS: Final[Mapping[int, Kind]] = {
    DATA: Kind("DATA", Place.STREAM),  # 6.1
    HEADERS: Kind("HEADERS", Place.STREAM),  # 6.2
    PRIORITY: Kind("PRIORITY", Place.STREAM, lambda length: length == 5, harmless=True),  # 6.3
    RST_STREAM: Kind("RST_STREAM", Place.STREAM, lambda length: length == 4),  # 6.4
    SETTINGS: Kind("SETTINGS", Place.CONNECTION, lambda length: length % 6 == 0),  # 6.5
    PUSH_PROMISE: Kind("PUSH_PROMISE", Place.STREAM),  # 6.6
    PING: Kind("PING", Place.CONNECTION, lambda length: length == 8),  # 6.7
    GOAWAY: Kind("GOAWAY", Place.CONNECTION, lambda length: length >= 8),  # 6.8
    WINDOW_UPDATE: Kind("WINDOW_UPDATE", Place.BOTH, lambda length: length == 4),  # 6.9
    CONTINUATION: Kind("CONTINUATION", Place.STREAM),  # 6.10
}


def check(kind: int, stream_id: int, length: int) -> None:
    """Raise the fault of a frame that stands where its kind may not, or has a length that it may not."""
    row = KINDS[kind]
    if (stream_id == 0) if row.place is Place.STREAM else (stream_id and row.place is Place.CONNECTION):
        where = f"stream {stream_id}" if stream_id else "the connection"
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, f"{row.name} belongs to {row.place.value}, not to {where}"
        )
    if not row.fits(length):
        reason = f"{row.name} of {length} bytes"
        if row.harmless:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, reason)
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, reason)


def unpadded(kind: int, payload: bytes) -> bytes:
    """The payload of a frame with the flag PADDED, without the padding (6.1, 6.2)."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a padded {KINDS[kind].name} of no bytes")
    if payload[0] >= len(payload):
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR,
            f"a padding of {payload[0]} in {len(payload)} bytes of {KINDS[kind].name}",
        )
    return payload[1 : len(payload) - payload[0]]


# === frames that we send ===


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id) + payload


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(key, value) for key, value in values.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, WORD.pack(increment))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    return frame(RST_STREAM, 0, stream_id, WORD.pack(code))


def ping(payload: bytes, *, ack: bool) -> bytes:
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last_stream_id: int, code: ErrorCode, reason: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, WORD.pack(last_stream_id) + WORD.pack(code) + reason.encode()[:200])
