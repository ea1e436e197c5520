"""Our state machine with a client's hand on it, without a socket and with a clock that is turned by hand."""

from typing import Any

from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, WindowUpdateFrame

from endpoint_picker.transport.connection import Connection, Event
from endpoint_picker.transport.limits import Limits
from tests.fakes.http2_client import ACK, PREFACE, settings


def parsed(data: bytes) -> list[Frame]:
    """Whole frames, read with hyperframe."""
    view, found = memoryview(data), []
    while view:
        came, length = Frame.parse_frame_header(view[:9], strict=True)
        came.parse_body(view[9 : 9 + length])
        found.append(came)
        view = view[9 + length :]
    return found


class Machine:
    """A connection on which both have said hello."""

    def __init__(self, *first: tuple[int, int], greet: bool = True, **limits: Any) -> None:
        self.now = 100.0
        self.connection = Connection(Limits(**limits), self.now)
        self.frames: list[Frame] = []
        """All that were sent."""
        if greet:
            self.feed(PREFACE, settings(*first), settings(flags=ACK))

    def feed(self, *parts: bytes) -> list[Event]:
        """The client sends this."""
        events = self.connection.receive(b"".join(parts), self.now)
        self.take()
        return events

    def wait(self, seconds: float, step: float = 1.0) -> list[Event]:
        """Time goes by, and the clock is looked at."""
        events: list[Event] = []
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + step, until)
            events += self.connection.tick(self.now)
            self.take()
        return events

    def take(self) -> list[Frame]:
        """What is sent now."""
        came = parsed(self.connection.take())
        self.frames += came
        return came

    def over(self) -> bool:
        """Nothing is received any more."""
        return self.connection.closed

    @property
    def goodbye(self) -> GoAwayFrame | None:
        """The last GOAWAY."""
        said = [came for came in self.frames if isinstance(came, GoAwayFrame)]
        return said[-1] if said else None

    @property
    def resets(self) -> dict[int, int]:
        """Streams that were reset, and why."""
        return {came.stream_id: came.error_code for came in self.frames if isinstance(came, RstStreamFrame)}

    def opened(self, stream: int) -> int:
        """By how much the window of a stream was opened, over all."""
        return sum(
            came.window_increment
            for came in self.frames
            if isinstance(came, WindowUpdateFrame) and came.stream_id == stream
        )
