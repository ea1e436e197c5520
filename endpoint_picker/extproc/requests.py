"""The request half of the conversation: when to decide, and how to pass the body on.

One class a way of getting the body. `Held` (full duplex) waits for the whole body, decides, then sends
headers and body in one go. `Buffered` gets the whole body in one message, whose answer carries the
headers' changes. `Early` must decide on the headers alone: in STREAMED mode the filter waits for that
answer before it sends the body, in NONE mode no body comes, and an upgraded connection has no end.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from endpoint_picker.core import wire
from endpoint_picker.core.errors import Internal
from endpoint_picker.exchange import Exchange
from endpoint_picker.extproc.gathered import Gathered, Room
from endpoint_picker.extproc.messages import (
    NOTHING,
    Body,
    BodyMode,
    BodyReply,
    Half,
    Headers,
    HeadersReply,
    Modes,
    Mutation,
    Reply,
    Side,
    TrailersReply,
    pieces,
)

SIDE: Final = Side.REQUEST

Route = Callable[[Mapping[str, str], bytes | None], Exchange]
"""Headers and body → the routed exchange; raises a Refusal."""
Learn = Callable[[bytes], bytes]
"""A body that came after the pick → the bytes to forward."""


class RequestHalf(Half, Protocol):
    """The half that may have to wait: while its exchange has an order, it answers nothing."""

    def resume(self) -> list[Reply]:
        """The order is done: what is to be sent now."""


def half_for(modes: Modes, headers: Headers, room: Room, route: Route, learn: Learn) -> RequestHalf:
    """The class that fits the body mode and the request."""
    upgrade = is_upgrade(headers.fields)
    if upgrade and BodyMode.BUFFERED in (modes.request, modes.response):
        raise Internal(
            "the ext_proc filter waits for the end of a body that has none: for upgraded connections, set "
            "request_body_mode and response_body_mode in its processing_mode to FULL_DUPLEX_STREAMED"
        )
    if upgrade or modes.request in (BodyMode.STREAMED, BodyMode.NONE):
        return Early(modes, headers, room, route, learn)
    return (Buffered if modes.request == BodyMode.BUFFERED else Held)(room, route)


def is_upgrade(fields: Mapping[str, str]) -> bool:
    """WebSocket and the like: HTTP/1.1 `Upgrade`, or CONNECT with a `:protocol` (RFC 8441).

    Not `h2c`: some clients offer it with every request, and go on in HTTP/1.1 where nobody takes it up.
    """
    return fields.get("upgrade", "").lower() not in ("", "h2c") or fields.get(":method") == "CONNECT"


class _Answering:
    """Answers at once, or once its exchange's order is done."""

    _later: Callable[[], list[Reply]] | None = None

    def resume(self) -> list[Reply]:
        later, self._later = self._later, None
        return later() if later is not None else []

    def _when_done(self, exchange: Exchange, replies: Callable[[], list[Reply]]) -> list[Reply]:
        if exchange.order is None:
            return replies()
        self._later = replies
        return []


class Held(_Answering):
    """FULL_DUPLEX_STREAMED: nothing is answered before the body's end."""

    def __init__(self, room: Room, route: Route) -> None:
        self._gathered = Gathered(room)
        self._route = route
        self._fields: Mapping[str, str] = {}
        self._answered = False

    def headers(self, headers: Headers) -> list[Reply]:
        self._fields = headers.fields
        if not headers.end_of_stream:
            return []
        self._answered = True
        return [HeadersReply(SIDE, outbound(self._route(self._fields, None)))]

    def body(self, body: Body) -> list[Reply]:
        if self._answered:
            return []
        self._gathered.add(body.data)
        return self._answer(end_of_stream=True) if body.end_of_stream else []

    def trailers(self) -> list[Reply]:
        return [TrailersReply(SIDE)] if self._answered else self._answer(end_of_stream=False)

    def close(self) -> None:
        self._gathered.close()
        self._later = None

    def _answer(self, *, end_of_stream: bool) -> list[Reply]:
        """Before trailers the body does not end the stream, and the trailers are answered after it."""
        self._answered = True
        exchange = self._route(self._fields, self._gathered.take())

        def replies() -> list[Reply]:
            headers = HeadersReply(SIDE, outbound(exchange))
            body = pieces(SIDE, exchange.take_body(), end_of_stream=end_of_stream)
            return [headers, *body] if end_of_stream else [headers, *body, TrailersReply(SIDE)]

        return self._when_done(exchange, replies)


class Buffered(_Answering):
    """BUFFERED: the one body message holds the whole body, whether or not trailers follow."""

    def __init__(self, room: Room, route: Route) -> None:
        self._room = room
        self._route = route
        self._fields: Mapping[str, str] = {}
        self._answered = False

    def headers(self, headers: Headers) -> list[Reply]:
        self._fields = headers.fields
        if not headers.end_of_stream:
            return [HeadersReply(SIDE)]
        self._answered = True
        return [HeadersReply(SIDE, outbound(self._route(self._fields, None)))]

    def body(self, body: Body) -> list[Reply]:
        if self._answered:
            return [BodyReply(SIDE)]
        self._room.check(len(body.data))
        self._answered = True
        exchange = self._route(self._fields, body.data)

        def replies() -> list[Reply]:
            forwarded = exchange.take_body()
            changed = forwarded if forwarded is not body.data else None
            return [BodyReply(SIDE, changed, outbound(exchange))]

        return self._when_done(exchange, replies)

    def trailers(self) -> list[Reply]:
        if self._answered:
            return [TrailersReply(SIDE)]
        # A body that is nothing but trailers: only metadata can still carry the destination.
        self._answered = True
        return [TrailersReply(SIDE, outbound(self._route(self._fields, None)))]

    def close(self) -> None:
        self._later = None


class Early:
    """STREAMED, NONE and upgrades: the headers are answered at once, the body passes by."""

    def __init__(self, modes: Modes, headers: Headers, room: Room, route: Route, learn: Learn) -> None:
        self._duplex = modes.request == BodyMode.FULL_DUPLEX_STREAMED
        self._opaque = is_upgrade(headers.fields)
        self._rewrites = any(headers.fields.get(name) for name in wire.MODEL_REWRITE)
        self._gathered = Gathered(room)
        self._route = route
        self._learn = learn

    def headers(self, headers: Headers) -> list[Reply]:
        return [HeadersReply(SIDE, outbound(self._route(headers.fields, None)))]

    def body(self, body: Body) -> list[Reply]:
        if self._opaque:
            return self._pass(body)
        self._gathered.add(body.data)
        if body.end_of_stream:
            return self._end()
        # A body whose model name changes goes on whole, at its end.
        return [BodyReply(SIDE, b"" if self._rewrites else None)]

    def trailers(self) -> list[Reply]:
        whole = self._gathered.take()
        if whole and self._rewrites:
            # No message is left that could carry the body.
            raise Internal(
                "the model name of a request with trailers cannot be changed in mode STREAMED; set "
                "request_body_mode in the processing_mode of the ext_proc filter to FULL_DUPLEX_STREAMED"
            )
        if whole:
            self._learn(whole)
        return [TrailersReply(SIDE)]

    def resume(self) -> list[Reply]:
        return []  # without a body nothing is ordered

    def close(self) -> None:
        self._gathered.close()

    def _end(self) -> list[Reply]:
        whole = self._learn(self._gathered.take())
        return [BodyReply(SIDE, whole if self._rewrites else None)]

    def _pass(self, body: Body) -> list[Reply]:
        if self._duplex:
            return pieces(SIDE, body.data, end_of_stream=body.end_of_stream)
        return [BodyReply(SIDE)]


def outbound(exchange: Exchange) -> Mutation:
    """What a routed request takes along: only what differs from what the client sent."""
    request, decision = exchange.request, exchange.decision
    if decision is None:
        return NOTHING
    told = dict(decision.endpoint.fields + decision.headers) | request.fields
    fields = [(wire.DESTINATION, decision.destination), *told.items()]
    if request.headers.get(wire.REQUEST_ID) != request.id:
        fields.append((wire.REQUEST_ID, request.id))
    declared = request.headers.get("content-length")
    if request.size and declared is not None and declared != str(request.size):
        fields.append(("content-length", str(request.size)))
    return Mutation(
        set=tuple(fields),
        remove=tuple(sorted(wire.CONTROL_HEADERS & request.headers.keys() - told.keys())),
        destination=decision.destination,
        scores=exchange.scores,
        clear_route_cache=True,
    )
