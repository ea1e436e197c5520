"""HTTP/2 as the picker speaks it, without sockets: frames alone, then a request with all that it causes.

Each measurement goes over one connection that stays, as Envoy's does. What Envoy sends is made beforehand;
counted is from the bytes of a read to the bytes of the write that answers it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.figures import Figure
from bench.micro.envoy import Envoy, reads
from bench.micro.picker import director
from bench.micro.timing import Pace, figure
from bench.samples import answers, talk
from bench.samples.prompts import Bodies, Kind
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.extproc import conversation
from endpoint_picker.extproc.gathered import Room
from endpoint_picker.inline_prefills import InlinePrefills
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.transport.calls import Calls, Services
from endpoint_picker.transport.connection import Connection
from endpoint_picker.transport.limits import Limits

SEED: Final = 5
CHUNKS: Final = 200
"""Of one stream."""
MESSAGE: Final = b"x" * 300
"""As long as the message that brings a chunk."""
BODY_LIMIT: Final = 64 << 20

Reads = Sequence[bytes]
"""What comes of one request, read by read."""


class Echo:
    """Answers each message with itself: what is left is the transport."""

    finished = False
    waits = False

    def receive(self, message: bytes) -> Iterable[bytes]:
        return (message,)

    def half_close(self) -> Iterable[bytes]:
        return ()

    def close(self) -> None:
        pass


class Line:
    """One connection and who serves it."""

    def __init__(self, services: Services) -> None:
        self.envoy = Envoy()
        self._connection = Connection(Limits(), time.monotonic())
        self._calls = Calls(self._connection, services, Limits(), lambda seconds, call: lambda: None)
        self.serve(self.envoy.greeting())

    def serve(self, data: bytes) -> int:
        """One read; answers how many bytes its answer has."""
        self._calls.handle(self._connection.receive(data, time.monotonic()))
        return len(self._connection.take())

    def micros(self, requests: Sequence[Reads]) -> float:
        """CPU of one request, on average."""
        begin = time.thread_time_ns()
        sent = sum(self.serve(data) for request in requests for data in request)
        spent = time.thread_time_ns() - begin
        self.serve(self.envoy.allow(sent))
        if len(self._calls) or self._connection.closed:
            raise RuntimeError(f"not served as expected: {self._connection.failure}")
        return spent / len(requests) / 1e3


def figures(pace: Pace) -> list[Figure]:
    """From frames to whole requests."""
    echo = Line({talk.METHOD: lambda _: Echo()})
    return [
        figure("frames_call", "HTTP/2: a call, its opening and end alone", _runs(echo, _empty(echo), pace)),
        figure(
            "frames_message",
            f"HTTP/2: a message of {len(MESSAGE)} B and its echo",
            [micros / CHUNKS for micros in _runs(echo, _echoed(echo), pace)],
        ),
        *requests(pace),
    ]


def requests(pace: Pace) -> list[Figure]:
    """Everything that a request costs but its system calls."""
    few, many = (_line(endpoints) for endpoints in (10, 100))
    return [
        figure(
            "request_small",
            "request of 2 KB, 10 endpoints, no sockets",
            _runs(few, _asked(few, "small"), pace),
        ),
        figure(
            "request_long",
            "request of 400 KB, 100 endpoints, no sockets",
            _runs(many, _asked(many, "long"), pace),
        ),
        figure(
            "request_chunk",
            "streamed chunk, no sockets",
            [micros / CHUNKS for micros in _runs(few, _streamed(few), pace)],
        ),
    ]


def _line(endpoints: int) -> Line:
    room = Room(body=BODY_LIMIT, total=BODY_LIMIT)
    nobody = InlinePrefills(EndpointTable(), Metrics(), time.monotonic)  # the default profile orders nothing
    return Line(conversation.services(director(endpoints), room, nobody))


def _runs(line: Line, requests: Iterator[Reads], pace: Pace) -> list[float]:
    """Microseconds of a request, run by run."""
    line.micros([next(requests) for _ in range(3)])
    once = line.micros([next(requests)])
    count = max(3, round(pace.seconds * 1e6 / once))
    return [line.micros([next(requests) for _ in range(count)]) for _ in range(pace.runs)]


# === what comes ===


def _empty(line: Line) -> Iterator[Reads]:
    while True:
        stream_id, opening = line.envoy.open()
        yield [opening + line.envoy.end(stream_id)]


def _echoed(line: Line) -> Iterator[Reads]:
    """Long calls, each message in a read of its own."""
    while True:
        stream_id, opening = line.envoy.open()
        message = line.envoy.say(stream_id, MESSAGE)
        yield [opening, *(message for _ in range(CHUNKS)), line.envoy.end(stream_id)]


def _asked(line: Line, kind: Kind) -> Iterator[Reads]:
    """Requests that are answered with a JSON document."""
    bodies = Bodies(kind, SEED)
    while True:
        stream_id, opening = line.envoy.open()
        asked = line.envoy.say(stream_id, talk.request_headers(), talk.request_body(bodies.next()))
        answer = (
            talk.response_headers(),
            talk.response_body(answers.DOCUMENT),
            talk.response_body(b"", end=True),
        )
        yield [*reads(opening + asked), line.envoy.say(stream_id, *answer) + line.envoy.end(stream_id)]


def _streamed(line: Line) -> Iterator[Reads]:
    """Requests that are answered with events, each in a read of its own."""
    bodies = Bodies("small", SEED, stream=True)
    while True:
        stream_id, opening = line.envoy.open()
        asked = line.envoy.say(stream_id, talk.request_headers(), talk.request_body(bodies.next()))
        begun = line.envoy.say(stream_id, talk.response_headers(talk.STREAM))
        event = line.envoy.say(stream_id, talk.response_body(answers.TOKEN))
        last = line.envoy.say(stream_id, *(talk.response_body(each) for each in answers.LAST))
        ended = line.envoy.say(stream_id, talk.response_body(b"", end=True)) + line.envoy.end(stream_id)
        yield [opening + asked, begun, *(event for _ in range(CHUNKS)), last + ended]
