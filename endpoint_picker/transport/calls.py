"""gRPC on the streams of a connection: messages in DATA, a status in the trailers, deadlines.

Sources: the gRPC-over-HTTP/2 wire description and gRPC's list of status codes. What serves a call is
synchronous: a message in, messages out. So nothing waits here but for the peer.
"""

import logging
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from endpoint_picker.observability import logs
from endpoint_picker.transport.connection import Connection, Event, Opened, Received
from endpoint_picker.transport.headers import Field, Head, encode
from endpoint_picker.transport.limits import Limits
from endpoint_picker.transport.messages import Code, Messages, Room, Status

log = logging.getLogger(__name__)


class Call(Protocol):
    """What serves one call."""

    finished: bool
    """Nothing more is to be said: the call ends with OK."""

    @property
    def waits(self) -> bool:
        """It will say more by itself, once, whether or not another message comes."""

    def receive(self, message: bytes) -> Iterable[bytes]:
        """Take a message; answers what is to be sent. Raises Status."""

    def half_close(self) -> Iterable[bytes]:
        """The peer says no more: answers the last messages. Raises Status; else the call ends with OK."""

    def close(self) -> None:
        """The call is over, for whatever reason; called once."""


Say = Callable[[Iterable[bytes]], None]
"""Sends messages when the call itself has something to say, and ends it where it has `finished`; what is
raised while they are taken ends it, too."""
Open = Callable[[Say], Call]
"""Begins to serve a call."""
Services = Mapping[str, Open]
"""Path (`/service/method`) → how a call of it begins."""
Later = Callable[[float, Callable[[], None]], Callable[[], object]]
"""Calls a function after so many seconds; answers how to call that off."""


class Unary:
    """Serves a call of one message each way."""

    finished = False
    waits = False

    def __init__(self, serve: Callable[[bytes], bytes]) -> None:
        self._serve = serve
        self._messages: list[bytes] = []

    def receive(self, message: bytes) -> Iterable[bytes]:
        self._messages.append(message)
        if len(self._messages) > 1:
            raise Status(Code.INTERNAL, "a second message where one belongs")
        return ()

    def half_close(self) -> Iterable[bytes]:
        if not self._messages:
            raise Status(Code.INTERNAL, "no message where one belongs")
        return (self._serve(self._messages[0]),)

    def close(self) -> None:
        self._messages.clear()


# === headers ===

CONTENT_TYPE: Final = b"application/grpc"
_RESPONSE: Final = encode(((b":status", b"200"), (b"content-type", CONTENT_TYPE)))
_OK: Final = encode(((b"grpc-status", b"0"),))
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_ENCODINGS: Final = (b"identity", b"gzip")
LONGEST_MESSAGE: Final = 1_000
"""Characters of a status's text."""


def timeout(head: Head) -> float | None:
    """Seconds that the peer gives the call, or None. Raises Status when it cannot be read."""
    text = head.get(b"grpc-timeout")
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise Status(Code.INTERNAL, "grpc-timeout is not a number of up to 8 digits with a unit")
    return int(match[1]) * _UNITS[match[2]]


def check(head: Head) -> None:
    """Raises Status unless the request is one of gRPC."""
    if head.method != b"POST":
        raise Status(Code.INTERNAL, "a gRPC call is a POST", http=b"405")
    kind = head.get(b"content-type") or b""
    if not kind.startswith(CONTENT_TYPE) or kind[len(CONTENT_TYPE) : len(CONTENT_TYPE) + 1] not in b"+;":
        raise Status(Code.INTERNAL, "the content-type is not application/grpc", http=b"415")


def compression(head: Head) -> bool:
    """Whether messages may be compressed (gzip). Raises Status when they may be in another way."""
    name = head.get(b"grpc-encoding") or b"identity"
    if name not in _ENCODINGS:
        raise Status(Code.UNIMPLEMENTED, f"grpc-encoding {name[:40]!r} is not one of identity, gzip")
    return name == b"gzip"


def trailers(status: Status, *, alone: bool) -> bytes:
    """The block that ends a call; `alone` when no header section went before it."""
    if status.code is Code.OK and not alone:
        return _OK
    fields: list[Field] = [(b":status", status.http), (b"content-type", CONTENT_TYPE)] if alone else []
    fields.append((b"grpc-status", b"%d" % status.code))
    if status.message:
        text = urllib.parse.quote(status.message[:LONGEST_MESSAGE], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
        fields.append((b"grpc-message", text.strip().encode()))
    if status.code is Code.UNIMPLEMENTED:
        fields.append((b"grpc-accept-encoding", b",".join(_ENCODINGS)))
    return encode(tuple(fields))


# === calls ===


class _Ongoing:
    """A call and its stream."""

    __slots__ = ("call", "call_off", "messages", "started")

    def __init__(self, call: Call, messages: Messages) -> None:
        self.call = call
        self.messages = messages
        self.started = False
        """The answer's header section has been sent."""
        self.call_off: Callable[[], object] | None = None
        """Ends the wait for the deadline."""


class Calls:
    """The calls of one connection."""

    def __init__(self, connection: Connection, services: Services, limits: Limits, later: Later) -> None:
        self._connection = connection
        self._services = services
        self._limits = limits
        self._later = later
        self._ongoing: dict[int, _Ongoing] = {}
        self._room = Room(limits.assembling)
        self._complaints = logs.Sparse(log)

    def __len__(self) -> int:
        return len(self._ongoing)

    def handle(self, events: Iterable[Event]) -> None:
        """Serve what came."""
        for event in events:
            if type(event) is Received:
                self._received(event.stream_id, event.data, event.ends)
            elif type(event) is Opened:
                self._opened(event)
            else:
                self._end(event.stream_id)

    def _opened(self, event: Opened) -> None:
        stream_id, head = event.stream_id, event.head
        try:
            self._begin(stream_id, head)
        except Status as status:
            self._connection.finish(stream_id, trailers(status, alone=True))
        except Exception as error:
            self._complaints.exception(type(error).__name__, "a call could not begin")
            failed = Status(Code.INTERNAL, f"{type(error).__name__} in the server")
            self._connection.finish(stream_id, trailers(failed, alone=True))
        else:
            if event.ends:
                self._received(stream_id, b"", True)

    def _begin(self, stream_id: int, head: Head) -> None:
        check(head)
        seconds = timeout(head)
        messages = Messages(self._limits.message, self._room, compressed=compression(head))
        serve = self._services.get(head.path.decode("latin-1"))
        if serve is None:
            raise Status(Code.UNIMPLEMENTED, f"no method {head.path.decode('latin-1')[:100]}")
        call = serve(lambda replies: self._say(stream_id, replies))
        ongoing = self._ongoing[stream_id] = _Ongoing(call, messages)
        if seconds is not None:
            ongoing.call_off = self._later(seconds, lambda: self._expired(stream_id))

    def _received(self, stream_id: int, data: bytes, ends: bool) -> None:
        ongoing = self._ongoing.get(stream_id)
        if ongoing is None:
            return  # ended from our side
        try:
            self._serve(stream_id, ongoing, data)
            if ends and not ongoing.call.finished:
                self._half_close(stream_id, ongoing)
            if ends or ongoing.call.finished:
                self._finish(stream_id, ongoing, Status(Code.OK))
        except Exception as error:
            self._failed(stream_id, ongoing, error)

    def _say(self, stream_id: int, replies: Iterable[bytes]) -> None:
        """Nobody has sent anything just now, so what is said goes out with the next look at the clock."""
        self._later(0.0, lambda: self._said(stream_id, replies))

    def _said(self, stream_id: int, replies: Iterable[bytes]) -> None:
        ongoing = self._ongoing.get(stream_id)
        if ongoing is None:
            return
        try:
            for reply in replies:
                self._reply(stream_id, ongoing, reply)
            if ongoing.call.finished:
                self._finish(stream_id, ongoing, Status(Code.OK))
        except Exception as error:
            self._failed(stream_id, ongoing, error)

    def _failed(self, stream_id: int, ongoing: _Ongoing, error: Exception) -> None:
        if not isinstance(error, Status):
            self._complaints.exception(type(error).__name__, "a call failed: %r", ongoing.call)
            error = Status(Code.INTERNAL, f"{type(error).__name__} in the server")
        self._finish(stream_id, ongoing, error)

    def _serve(self, stream_id: int, ongoing: _Ongoing, data: bytes) -> None:
        call = ongoing.call
        for message in ongoing.messages.feed(data):
            if call.finished:
                return
            for reply in call.receive(message):
                self._reply(stream_id, ongoing, reply)

    def _half_close(self, stream_id: int, ongoing: _Ongoing) -> None:
        if ongoing.messages.held:
            raise Status(Code.INTERNAL, "the last message breaks off")
        for reply in ongoing.call.half_close():
            self._reply(stream_id, ongoing, reply)

    def _reply(self, stream_id: int, ongoing: _Ongoing, reply: bytes) -> None:
        most = self._limits.send_message
        if most is not None and len(reply) > most:
            raise Status(Code.RESOURCE_EXHAUSTED, f"an answer of more than {most} bytes")
        if not ongoing.started:
            ongoing.started = True
            self._connection.start(stream_id, _RESPONSE)
        self._connection.send(stream_id, b"\0" + len(reply).to_bytes(4, "big") + reply)

    def _expired(self, stream_id: int) -> None:
        ongoing = self._ongoing.get(stream_id)
        if ongoing is not None:
            self._finish(stream_id, ongoing, Status(Code.DEADLINE_EXCEEDED, "the deadline has passed"))

    def _finish(self, stream_id: int, ongoing: _Ongoing, status: Status) -> None:
        self._end(stream_id)
        self._connection.finish(stream_id, trailers(status, alone=not ongoing.started))

    def _end(self, stream_id: int) -> None:
        """The call is over; its stream may still have something to send."""
        ongoing = self._ongoing.pop(stream_id, None)
        if ongoing is None:
            return
        ongoing.messages.close()
        if ongoing.call_off is not None:
            ongoing.call_off()
        try:
            ongoing.call.close()
        except Exception as error:
            self._complaints.exception(type(error).__name__, "a call could not be closed: %r", ongoing.call)
