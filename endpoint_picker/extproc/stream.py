"""The state machine of one conversation: a message in, the answers out; no I/O, no waiting.

A conversation runs request headers, body, trailers, then response headers, body, trailers; parts may be
missing, and it may break off anywhere. Whatever way it ends, `close` must be called once: it settles the
books.
"""

from collections.abc import Mapping
from typing import Final

from endpoint_picker.core import wire
from endpoint_picker.core.errors import Internal, Refusal, ServiceUnavailable
from endpoint_picker.director import Arrival, Director
from endpoint_picker.exchange import Exchange
from endpoint_picker.extproc import requests, responses
from endpoint_picker.extproc.gathered import Gathered, Room
from endpoint_picker.extproc.messages import (
    SUPPORTED_MODES,
    Body,
    BodyMode,
    Half,
    Headers,
    Immediate,
    Incoming,
    Modes,
    Reply,
    Side,
    Trailers,
)

EMPTY_HEADERS: Final = Headers({}, end_of_stream=False)
_NOTHING_BESIDE: Final = [None, None, None]


class OutOfOrder(ValueError):
    """A message that cannot come at this point of the conversation."""


class Stream:
    """One conversation. Not reusable."""

    def __init__(self, director: Director, room: Room) -> None:
        self.finished = False
        """Nothing more is to be said: the transport ends the stream."""
        self.waiting: Exchange | None = None
        """Its order is to be carried out, and then `resume` called: until then nothing is answered."""
        self._director = director
        self._room = room
        self._kept = Gathered(room)
        """What the order needs."""
        self._modes = Modes()
        self._subset: tuple[str, ...] | None = None
        self._arrived = 0.0
        self._asked = False
        """The director was asked; what it refuses it has counted."""
        self._exchange: Exchange | None = None
        self._request: requests.RequestHalf | None = None
        self._response: Half | None = None
        self._fields: Mapping[str, str] = {}

    def __repr__(self) -> str:
        stage = "response" if self._response else "request" if self._request else "start"
        return f"<Stream {stage}{' finished' if self.finished else ''}>"

    def receive(self, message: Incoming) -> list[Reply]:
        """Take one message; answers what is to be sent now, in order.

        A refusal becomes an immediate answer to the client and finishes the conversation. Raises
        OutOfOrder for a message that makes no sense here; the conversation is then over.
        """
        if self.finished:
            return []
        side, event, *beside = message
        half = self._request if side is Side.REQUEST else self._response
        try:
            if type(event) is Body and half is not None and beside == _NOTHING_BESIDE:
                return half.body(event)  # nearly always, and all that there is to a token
            return self._receive(message)
        except Refusal as refusal:
            if not self._asked or self._exchange is not None:
                self._director.refuse(refusal, self._fields)
            self.close()
            return [immediate(refusal)]

    def _receive(self, message: Incoming) -> list[Reply]:
        self._note(message)
        half = self._request_half(message) if message.side is Side.REQUEST else self._response_half(message)
        match message.event:
            case Headers() as headers:
                return half.headers(headers)
            case Body() as body:
                return half.body(body)
            case Trailers():
                return half.trailers()

    def resume(self) -> list[Reply]:
        """The order is done: answers what is to be sent now."""
        self.waiting = None
        self._kept.close()
        return [] if self.finished or self._request is None else self._request.resume()

    def close(self) -> None:
        """The conversation is over, for whatever reason. A second call does nothing."""
        self.finished = True
        self.waiting = None
        self._kept.close()
        for half in (self._request, self._response):
            if half is not None:
                half.close()
        if self._exchange is not None:
            # Where no response body is sent to us, the end of the conversation is the response's end.
            unseen = self._response is not None and self._modes.response == BodyMode.NONE
            self._exchange.end(complete=unseen)

    def _note(self, message: Incoming) -> None:
        """Take in what any message may carry beside its event."""
        if message.modes is not None:
            self._modes = message.modes
            for mode in (message.modes.request, message.modes.response):
                if mode not in SUPPORTED_MODES:
                    raise _unsupported(mode)
        if message.subset is not None:
            self._subset = message.subset
        if message.served is not None and self._exchange is not None:
            self._director.served(self._exchange, message.served)

    def _request_half(self, message: Incoming) -> Half:
        first = isinstance(message.event, Headers)
        if first and self._request is not None:
            raise OutOfOrder("a second time request headers")
        if self._request is None and self._response is not None:
            raise OutOfOrder(f"{_name(message)}, the first of the request, after the response has begun")
        if self._request is None:
            headers = message.event if isinstance(message.event, Headers) else EMPTY_HEADERS
            self._begin(headers)
            self._request = requests.half_for(self._modes, headers, self._room, self._route, self._learn)
        return self._request

    def _begin(self, headers: Headers) -> None:
        self._fields = headers.fields
        self._arrived = self._director.now()
        declared = headers.fields.get("content-length", "")
        if declared.isdecimal() and len(declared) < 20:
            self._room.check(int(declared))

    def _response_half(self, message: Incoming) -> Half:
        first = isinstance(message.event, Headers)
        if first and self._response is not None:
            raise OutOfOrder("a second time response headers")
        if self._response is None:
            self._give_up()
            if self._exchange is None:
                self._exchange = self._director.unrouted()
            self._response = responses.half_for(self._modes, self._exchange)
        return self._response

    def _route(self, fields: Mapping[str, str], body: bytes | None) -> Exchange:
        self._asked = True
        exchange = self._exchange = self._director.route(Arrival(fields, self._arrived, self._subset), body)
        if exchange.order is not None:
            self._await(exchange, exchange.order.size)
        return exchange

    def _await(self, exchange: Exchange, size: int) -> None:
        """Have the order carried out, if there is room for what it needs."""
        try:
            self._kept.hold(size)
        except ServiceUnavailable:
            exchange.not_computed()  # the request itself needs nothing more
        else:
            self.waiting = exchange

    def _give_up(self) -> None:
        """Somebody has answered the client while the order was carried out: nobody needs it now."""
        if self.waiting is not None and self._request is not None:
            self.waiting.not_computed()
            self.waiting.take_body()
            self.waiting = None
            self._request.close()
            self._kept.close()

    def _learn(self, body: bytes) -> bytes:
        return self._director.learn(self._exchange, body) if self._exchange is not None else body


def immediate(refusal: Refusal) -> Immediate:
    """A refusal as the client sees it."""
    reason = ((wire.DROPPED_REASON, refusal.reason),) if refusal.reason else ()
    return Immediate(refusal.status, refusal.body, reason)


def _unsupported(mode: BodyMode | int) -> Internal:
    name = mode.name if isinstance(mode, BodyMode) else str(mode)
    supported = ", ".join(sorted(mode.name for mode in SUPPORTED_MODES))
    return Internal(
        f"the ext_proc filter sends bodies in mode {name}, which the endpoint picker does not serve; "
        f"set request_body_mode and response_body_mode in its processing_mode to one of {supported}"
    )


def _name(message: Incoming) -> str:
    return f"{message.side.value} {type(message.event).__name__.lower()}"
