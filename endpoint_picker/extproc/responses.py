"""The response half of the conversation: watch the body go by, give the client's model name back.

`Duplex` (full duplex) echoes what comes; `LockStep` (STREAMED, BUFFERED) answers each message once;
`Unseen` (NONE) gets the headers alone. All tell the exchange what they see. The response's own headers
are left alone but for one that says that we were here, so repeated ones such as `set-cookie` survive.
"""

from typing import Final

from endpoint_picker.core import wire
from endpoint_picker.exchange import Exchange
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
    Piece,
    Reply,
    Side,
    TrailersReply,
    pieces,
)
from endpoint_picker.parsing.rewrite import ModelNameRestorer

SIDE: Final = Side.RESPONSE
HELD_BYTES: Final = 1 << 17
"""A JSON document goes on in one go up to this size, and as it comes from there on."""
MARK: Final = Mutation(set=((wire.WENT_THROUGH, "true"),))


def marked(exchange: Exchange) -> Mutation:
    """What the header of a response takes along."""
    more, told = exchange.fields(), exchange.metadata
    return Mutation(set=(*MARK.set, *more), metadata=told or None) if more or told else MARK


def ended(exchange: Exchange) -> Mutation:
    """What the end of a response takes along."""
    return Mutation(metadata=exchange.metadata) if exchange.metadata else NOTHING


def half_for(modes: Modes, exchange: Exchange) -> Half:
    """The class that fits the body mode."""
    match modes.response:
        case BodyMode.FULL_DUPLEX_STREAMED:
            return Duplex(exchange)
        case BodyMode.NONE:
            return Unseen(exchange, whole=False)
        case mode:
            return LockStep(exchange, whole=mode == BodyMode.BUFFERED)


def restorer(exchange: Exchange) -> ModelNameRestorer | None:
    """Gives the client the model name that it asked for, where another one was forwarded."""
    request = exchange.request
    if request.model and request.target_model and request.model != request.target_model:
        return ModelNameRestorer(request.target_model, request.model)
    return None


class Duplex:
    """FULL_DUPLEX_STREAMED: parts go on at once; a JSON document, which has no use in parts, at its end."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._restorer = restorer(exchange)
        self._holds = False
        self._held: list[bytes] = []
        self._held_bytes = 0

    def headers(self, headers: Headers) -> list[Reply]:
        self._exchange.response_headers(headers.fields)
        self._holds = self._exchange.media_type == "application/json" and not self._exchange.streaming
        if headers.end_of_stream:
            self._exchange.end(complete=True)
        return [HeadersReply(SIDE, marked(self._exchange))]

    def body(self, body: Body) -> list[Reply]:
        self._exchange.response_chunk(body.data)
        data = body.data
        if self._restorer is not None:
            data = self._restorer.feed(data)
        if body.end_of_stream:
            self._exchange.end(complete=True)
            *before, last = pieces(SIDE, self._rest(data), end_of_stream=True)
            return [*before, self._told(last)]
        if self._holds:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes <= HELD_BYTES:
                return []
            self._holds = False
            data = self._take()
        return pieces(SIDE, data, end_of_stream=False)

    def trailers(self) -> list[Reply]:
        self._exchange.end(complete=True)
        rest = pieces(SIDE, self._rest(b""), end_of_stream=False)
        return [*rest, TrailersReply(SIDE, ended(self._exchange))]

    def close(self) -> None:
        self._held.clear()

    def _rest(self, data: bytes) -> bytes:
        """All that is still to be sent, `data` being the newest of it."""
        if self._held:
            self._held.append(data)
            data = self._take()
        if self._restorer is not None:
            data += self._restorer.flush()
        return data

    def _told(self, last: Reply) -> Reply:
        told = self._exchange.metadata
        return last._replace(metadata=told) if told and isinstance(last, Piece) else last

    def _take(self) -> bytes:
        whole = b"".join(self._held)
        self._held.clear()
        return whole


class LockStep:
    """STREAMED and BUFFERED: one answer a message; a message is changed or left as it is.

    Nothing is carried from one message to the next: were there trailers, the rest could not be sent. So
    in STREAMED mode a model name that is split over two messages stays as the replica wrote it.
    """

    def __init__(self, exchange: Exchange, *, whole: bool) -> None:
        self._exchange = exchange
        self._whole = whole
        """One message holds the whole body (BUFFERED): Envoy fails it if it is not as long as declared."""
        self._declares = False
        self._restorer = restorer(exchange)

    def headers(self, headers: Headers) -> list[Reply]:
        self._declares = self._whole and "content-length" in headers.fields
        self._exchange.response_headers(headers.fields)
        if headers.end_of_stream:
            self._exchange.end(complete=True)
        return [HeadersReply(SIDE, marked(self._exchange))]

    def body(self, body: Body) -> list[Reply]:
        self._exchange.response_chunk(body.data)
        if body.end_of_stream:
            self._exchange.end(complete=True)
        told = self._exchange.metadata or None
        if self._restorer is None:
            return [BodyReply(SIDE, None, Mutation(metadata=told))]
        data = self._restorer.feed(body.data) + self._restorer.flush()
        if data == body.data:
            return [BodyReply(SIDE, None, Mutation(metadata=told))]
        length = (("content-length", str(len(data))),) if self._declares else ()
        return [BodyReply(SIDE, data, Mutation(set=length, metadata=told))]

    def trailers(self) -> list[Reply]:
        self._exchange.end(complete=True)
        return [TrailersReply(SIDE, ended(self._exchange))]

    def close(self) -> None:
        pass  # nothing is held from one message to the next


class Unseen(LockStep):
    """NONE: no body comes; the conversation ends when the response does."""

    def headers(self, headers: Headers) -> list[Reply]:
        # The only sign that we get of a computed prompt.
        self._exchange.prefilled()
        return super().headers(headers)
