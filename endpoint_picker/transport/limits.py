"""Every bound of the HTTP/2 transport, in one place: what a peer may ask for, hold, and waste.

Peers are few and mostly proxies, but what they carry is written by strangers. A limit that is reached costs
the stream that reached it, or the connection where the stream cannot be told; never the process.
"""

from dataclasses import dataclass
from typing import Final

DEFAULT_WINDOW: Final = 65_535
"""Flow-control window of both sides before anybody says otherwise (RFC 9113, 6.9.2)."""
LARGEST_WINDOW: Final = (1 << 31) - 1
DEFAULT_FRAME: Final = 16_384
"""Payload bytes that everybody must take (RFC 9113, 4.2); we ask for no more."""
LARGEST_FRAME: Final = (1 << 24) - 1
LARGEST_STREAM_ID: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection; sizes in bytes, times in seconds."""

    # === what a peer may send ===

    message: int = 256 << 20
    """Largest gRPC message; a larger one ends its call with RESOURCE_EXHAUSTED."""
    assembling: int = 512 << 20
    """Unfinished messages of all streams together: twice the largest one. The call that goes beyond it ends
    with RESOURCE_EXHAUSTED."""
    header_list: int = 32 << 10
    """Header list of a request, counted as RFC 9113, 6.5.2 does; also the largest header block."""
    continuations: int = 16
    """CONTINUATION frames of a header block. A list of the size above needs two."""
    streams: int = 10_000
    """Open streams. A proxy that needs more opens another connection."""

    # === what may wait here ===

    stream_window: int = 1 << 20
    """Bytes that a peer may send on a stream before we allow more."""
    connection_window: int = 16 << 20
    """The same for all streams together."""
    stream_buffer: int = 1 << 20
    """Output of a stream that its peer does not take, from which on the peer may send no more on it."""
    connection_buffer: int = 64 << 20
    """The same for all streams together."""
    unread: int = 4 << 20
    """What is no body (header sections, acknowledgements) and the socket does not take. A peer whose calls
    stay within `streams` needs less."""
    send_message: int | None = None
    """Largest gRPC message to the peer; None: any."""

    # === how long it may take ===

    handshake: float = 10.0
    """From the connection to the end of the preface; the same again until the peer takes our settings."""
    block: float = 10.0
    """From a frame's first byte, or a header block's, to its last: who drips blocks its own connection."""
    silence: float = 20.0
    """Without a byte before a PING asks for a sign of life, and again before the connection is given up."""
    idle: float = 3600.0
    """Without an open stream before the connection is ended in good order."""
    stall: float = 300.0
    """Output that a peer gives no window for, before its stream is reset."""
    linger: float = 2.0
    """For the last bytes of a connection to leave before it is cut off."""

    # === how much may be wasted ===

    burst: int = 5_000
    """Frames that do no good (see `Budget`) which a peer may send at once; each costs some microseconds."""
    rate: float = 500.0
    """Of them a second, for as long as it likes."""
