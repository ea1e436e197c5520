"""What Envoy tells us about one HTTP request, and what we answer: plain records, no protobuf."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

PIECE_BYTES: Final = 62_000
"""Largest body piece that we send: 64 KiB is the advice for full duplex, less room for the framing."""


class BodyMode(enum.IntEnum):
    """How the filter sends bodies; values of Envoy's `ProcessingMode.BodySendMode`."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4
    GRPC = 5


SUPPORTED_MODES: Final = frozenset(
    {BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED}
)


@dataclass(frozen=True, slots=True)
class Modes:
    """Body modes of one stream; full duplex where the filter does not say."""

    request: BodyMode | int = BodyMode.FULL_DUPLEX_STREAMED
    response: BodyMode | int = BodyMode.FULL_DUPLEX_STREAMED


# === from Envoy ===


class Headers(NamedTuple):
    """Header fields; names in lower case, of a repeated one the last value."""

    fields: Mapping[str, str]
    end_of_stream: bool


class Body(NamedTuple):
    """A part of a body. A tuple, as are `Incoming` and `Piece`: there is one for each generated token."""

    data: bytes
    end_of_stream: bool


@dataclass(frozen=True, slots=True)
class Trailers:
    """The end of a body that has trailers; what they say does not matter to us."""


class Side(enum.Enum):
    """Which way a message of the HTTP exchange travels."""

    REQUEST = "request"
    RESPONSE = "response"


class Incoming(NamedTuple):
    """One message of Envoy."""

    side: Side
    event: Headers | Body | Trailers
    modes: Modes | None = None
    """On the first message: the body modes, where the filter tells them."""
    subset: tuple[str, ...] | None = None
    """The only endpoints that may be picked; None: no such limit."""
    served: str | None = None
    """The endpoint that served the request in the end."""


# === to Envoy ===


Metadata = Mapping[str, Mapping[str, str | float | bool]]
"""Dynamic metadata: namespace → key → value."""


class Mutation(NamedTuple):
    """What changes on the way: headers to set, headers to remove, and the destination."""

    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    destination: str | None = None
    """Dynamic metadata `envoy.lb` / destination; the same value is among `set`."""
    scores: Mapping[str, float] | None = None
    """Total of each scored endpoint, shown beside the destination."""
    metadata: Metadata | None = None
    """Further dynamic metadata."""
    clear_route_cache: bool = False


NOTHING: Final = Mutation()


@dataclass(frozen=True, slots=True)
class HeadersReply:
    """Answer to headers."""

    side: Side
    mutation: Mutation = NOTHING


class Piece(NamedTuple):
    """Full duplex: a part of the body that goes on; the parts together are the body."""

    side: Side
    data: bytes
    end_of_stream: bool
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class BodyReply:
    """Lock step (STREAMED, BUFFERED): answer to one body message."""

    side: Side
    replacement: bytes | None = None
    """Bytes in place of the message's own; None: unchanged."""
    mutation: Mutation = NOTHING


@dataclass(frozen=True, slots=True)
class TrailersReply:
    """Answer to trailers."""

    side: Side
    mutation: Mutation = NOTHING
    """Only its metadata can be sent here."""


@dataclass(frozen=True, slots=True)
class Immediate:
    """Answer the client at once; ends the conversation."""

    status: int
    body: str
    headers: tuple[tuple[str, str], ...] = ()


Reply = HeadersReply | Piece | BodyReply | TrailersReply | Immediate


class Half(Protocol):
    """One side of the conversation: takes its messages in order, answers each with what is to be sent."""

    def headers(self, headers: Headers) -> list[Reply]: ...

    def body(self, body: Body) -> list[Reply]: ...

    def trailers(self) -> list[Reply]: ...

    def close(self) -> None:
        """Nothing more comes: let go of what is held."""


def pieces(side: Side, data: bytes, *, end_of_stream: bool) -> list[Reply]:
    """A body in pieces of at most `PIECE_BYTES`, the last of them with `end_of_stream`.

    An empty body is one empty piece when it ends the stream, and nothing otherwise.
    """
    if len(data) <= PIECE_BYTES:
        return [Piece(side, data, end_of_stream)] if data or end_of_stream else []
    starts = range(0, len(data), PIECE_BYTES)
    last = starts[-1]
    return [
        Piece(side, data[start : start + PIECE_BYTES], end_of_stream and start == last) for start in starts
    ]
