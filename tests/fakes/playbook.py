"""Scripts a conversation: `>>` is what Envoy says, `<<` is what must be answered, in order.

A failed expectation shows the whole conversation so far.

    Playbook(stream) >> request_headers(path="/v1/models", end=True) << routed() << end
"""

from collections.abc import Callable
from typing import Any, Final

from endpoint_picker.extproc.messages import (
    Body,
    BodyReply,
    Headers,
    HeadersReply,
    Immediate,
    Incoming,
    Modes,
    Piece,
    Reply,
    Side,
    Trailers,
    TrailersReply,
)
from endpoint_picker.extproc.stream import Stream

Expectation = Reply | Callable[[Reply], bool]

end: Final = object()
"""Nothing more is answered by now."""


class Playbook:
    """One conversation with a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.replies: list[Reply] = []
        """All that was answered."""
        self._next = 0
        self._transcript: list[str] = []

    def __rshift__(self, message: Incoming) -> "Playbook":
        self._transcript.append(f"  >> {message}")
        for reply in self.stream.receive(message):
            self._transcript.append(f"  << {reply}")
            self.replies.append(reply)
        return self

    def __lshift__(self, expected: Expectation | object) -> "Playbook":
        if expected is end:
            assert self._next == len(self.replies), self._story("nothing more")
            return self
        assert self._next < len(self.replies), self._story(expected)
        reply = self.replies[self._next]
        self._next += 1
        fits = expected(reply) if callable(expected) else reply == expected
        assert fits, self._story(expected, reply)
        return self

    def body(self, side: Side) -> bytes:
        """All pieces of one side put together; exactly the last may end the stream."""
        parts = [reply for reply in self.replies if isinstance(reply, Piece) and reply.side is side]
        assert all(not part.end_of_stream for part in parts[:-1]), self._story("one end of stream, the last")
        return b"".join(part.data for part in parts)

    def only(self, kind: type[Any]) -> Any:
        """The one reply of this kind."""
        found = [reply for reply in self.replies if isinstance(reply, kind)]
        assert len(found) == 1, self._story(f"one {kind.__name__}")
        return found[0]

    def _story(self, expected: object, got: object = None) -> str:
        lines = [f"{self.stream!r}", *self._transcript, f"expected {getattr(expected, '__name__', expected)}"]
        return "\n".join([*lines, f"but got  {got}"] if got is not None else lines)


# === what Envoy says ===


def request_headers(
    *,
    path: str = "/v1/completions",
    end: bool = False,
    modes: Modes | None = None,
    subset: tuple[str, ...] | None = None,
    **fields: str,
) -> Incoming:
    """Underscores in the names of fields stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = {":method": "POST", ":path": path, "x-request-id": "test-request-id", **named}
    return Incoming(Side.REQUEST, Headers(headers, end), modes=modes, subset=subset)


def request_body(data: bytes, *, end: bool = True, subset: tuple[str, ...] | None = None) -> Incoming:
    return Incoming(Side.REQUEST, Body(data, end), subset=subset)


def request_trailers() -> Incoming:
    return Incoming(Side.REQUEST, Trailers())


def response_headers(
    *,
    status: int = 200,
    content_type: str = "application/json",
    end: bool = False,
    served: str | None = None,
    **fields: str,
) -> Incoming:
    """Further `fields` are headers, with `_` for `-`."""
    given = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = {":status": str(status), "content-type": content_type} | given
    return Incoming(Side.RESPONSE, Headers(headers, end), served=served)


def response_body(data: bytes, *, end: bool = False) -> Incoming:
    return Incoming(Side.RESPONSE, Body(data, end))


def response_trailers() -> Incoming:
    return Incoming(Side.RESPONSE, Trailers())


# === what must be answered ===


def routed(place: str | None = None) -> Callable[[Reply], bool]:
    """The answer that names the destination, in header and metadata alike."""

    def fits(reply: Reply) -> bool:
        if not isinstance(reply, HeadersReply | BodyReply | TrailersReply):
            return False
        mutation = reply.mutation
        header = dict(mutation.set).get("x-gateway-destination-endpoint")
        same = header is not None and header == mutation.destination
        return same and mutation.clear_route_cache and place in (None, header)

    fits.__name__ = f"routed to {place or 'somewhere'}"
    return fits


def refused(status: int, text: str = "") -> Callable[[Reply], bool]:
    """An immediate answer whose body contains the text."""

    def fits(reply: Reply) -> bool:
        return isinstance(reply, Immediate) and reply.status == status and text in reply.body

    fits.__name__ = f"refused with {status} {text!r}"
    return fits


def piece(side: Side, data: bytes, *, end: bool = False) -> Piece:
    return Piece(side, data, end)
