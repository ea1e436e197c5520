"""A conversation as a transport serves it: bytes of a message in, bytes of the answers out."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from endpoint_picker.director import Director
from endpoint_picker.extproc import codec
from endpoint_picker.extproc.gathered import Room
from endpoint_picker.extproc.stream import OutOfOrder, Stream
from endpoint_picker.inline_prefills import InlinePrefills
from endpoint_picker.transport.calls import Say, Services
from endpoint_picker.transport.messages import Code, Status

PATH: Final = f"/{codec.SERVICE}/{codec.METHOD}"
MESSAGE_ROOM: Final = 1 << 20
"""What a message may need beside the body that it carries: headers, metadata, framing."""
LEAST_RECEIVED: Final = 256 << 20
"""Bytes of a message that are always taken. A request body that comes whole (BUFFERED) must arrive to be told
that it is too large, and the limit on requests says nothing about responses."""


def services(director: Director, room: Room, prefills: InlinePrefills) -> Services:
    """The method that Envoy calls; `room` is for the request bodies of all conversations."""
    return {PATH: lambda say: Conversation(Stream(director, room), prefills, say)}


def largest_message(max_request_body_bytes: int) -> int:
    """Bytes of the largest message that a transport must take, for any body to fit into one."""
    return max(LEAST_RECEIVED, max_request_body_bytes + MESSAGE_ROOM)


class Conversation:
    """One call of the method."""

    def __init__(self, stream: Stream, prefills: InlinePrefills, say: Say) -> None:
        self.finished = False
        """Nothing more is to be said."""
        self._stream = stream
        self._prefills = prefills
        self._say = say
        self._call_off: Callable[[], object] | None = None
        """Ends what the conversation waits for."""

    def __repr__(self) -> str:
        return repr(self._stream)

    @property
    def waits(self) -> bool:
        """Something is being done for the request; its answer comes after that."""
        return self._call_off is not None

    def receive(self, message: bytes) -> Iterable[bytes]:
        """Take a message of Envoy; answers what is to be sent. Raises Status when it makes no sense."""
        stream = self._stream
        try:
            replies = stream.receive(codec.decode(message))
            self.finished = stream.finished
            if (stream.waiting is None) is self.waits:
                self._wait()
            return [codec.encode(reply) for reply in replies]
        except (codec.Malformed, OutOfOrder) as error:
            raise Status(Code.INVALID_ARGUMENT, str(error)) from error

    def half_close(self) -> Iterable[bytes]:
        """Envoy says no more."""
        return ()

    def close(self) -> None:
        """Settle the books."""
        self._stream.close()
        if self.waits:
            self._wait()

    def _wait(self) -> None:
        """Begin what the stream waits for, or end it where the stream waits no longer."""
        if self._call_off is not None:
            self._call_off()
            self._call_off = None
        if self._stream.waiting is not None:
            self._call_off = self._prefills.begin(self._stream.waiting, self._resume)

    def _resume(self) -> None:
        self._call_off = None
        try:
            replies: Iterable[bytes] = [codec.encode(reply) for reply in self._stream.resume()]
        except Exception as error:
            replies = _failing(error)
        self.finished = self._stream.finished
        self._say(replies)


def _failing(error: Exception) -> Iterator[bytes]:
    """Raises it where the call is: nobody who could end it has called us."""
    yield from ()
    raise error
