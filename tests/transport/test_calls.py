"""The calls of one connection, without a socket; what gRPC asks stands in conformance/test_grpc."""

from collections.abc import Callable, Iterable

import pytest
from hyperframe.frame import DataFrame

from endpoint_picker.transport.calls import Calls, Unary, trailers
from endpoint_picker.transport.headers import encode
from endpoint_picker.transport.limits import Limits
from endpoint_picker.transport.messages import Code, Status
from tests.fakes.http2_client import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    frame,
    message,
    plain,
    request,
    rst_stream,
)
from tests.fakes.machine import Machine
from tests.fakes.talking import Echo, Talk


class Stubborn(Echo):
    """Cannot even be closed."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("a defect")


class Clock:
    """Deadlines that pass when they are told to."""

    def __init__(self) -> None:
        self.waiting: dict[Callable[[], None], float] = {}

    def later(self, seconds: float, call: Callable[[], None]) -> Callable[[], object]:
        self.waiting[call] = seconds
        return lambda: self.waiting.pop(call)

    def ring(self) -> None:
        for call in list(self.waiting):
            call()


class Table:
    """A machine, its calls, and what they did."""

    def __init__(self, **limits: int | None) -> None:
        self.machine = Machine()
        self.talk = Talk()
        self.clock = Clock()
        services = {**self.talk.services(), "/test.Talk/Stubborn": lambda _: Stubborn(self.talk)}
        connection = self.machine.connection
        self.calls = Calls(connection, services, Limits(**limits), self.clock.later)  # type: ignore[arg-type]

    def feed(self, *parts: bytes) -> None:
        self.calls.handle(self.machine.feed(*parts))
        self.machine.take()

    def call(self, method: str = "Echo", *fields: tuple[str, str]) -> None:
        self.feed(frame(HEADERS, 1, plain(request(f"/test.Talk/{method}", *fields)), END_HEADERS))

    @property
    def counts(self) -> tuple[int, int, int]:
        return len(self.calls), self.talk.opened, self.talk.closed


TIMED = ("grpc-timeout", "5S")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda table: table.feed(frame(DATA, 1, b"", END_STREAM)), id="half-close"),
        pytest.param(lambda table: table.feed(rst_stream(1)), id="reset"),
        pytest.param(lambda table: table.feed(frame(DATA, 1, bytes(3) + message(b"x", 9))), id="bad-message"),
        pytest.param(lambda table: table.feed(frame(DATA, 0, b"x")), id="connection-error"),
        pytest.param(lambda table: table.calls.handle(table.machine.connection.abandon()), id="abandoned"),
        pytest.param(lambda table: table.clock.ring(), id="deadline"),
    ],
)
@pytest.mark.parametrize("method", ["Echo", "Mute", "Stubborn"])
def test_a_call_is_closed_once_however_it_ends(method: str, end: Callable[[Table], None]) -> None:
    table = Table()
    table.call(method, TIMED)
    table.feed(frame(DATA, 1, message(b"hello") + b"\0\0"))
    assert table.counts == (1, 1, 0)
    assert list(table.clock.waiting.values()) == [5.0]
    end(table)
    assert table.counts == (0, 1, 1)
    assert not table.clock.waiting
    table.feed(frame(DATA, 1, message(b"late")))
    table.calls.handle(table.machine.connection.abandon())
    assert table.counts == (0, 1, 1)


def test_an_answer_over_the_limit_ends_the_call() -> None:
    table = Table(send_message=10)
    table.call()
    table.feed(frame(DATA, 1, message(bytes(10))))
    assert table.counts == (1, 1, 0)
    table.feed(frame(DATA, 1, message(bytes(11))))
    assert table.counts == (0, 1, 1)
    sent = [came.data for came in table.machine.frames if isinstance(came, DataFrame)]
    assert sent == [message(bytes(10))]


def test_messages_after_the_end_of_a_call_are_not_served() -> None:
    table = Table()
    table.call("First")
    table.feed(frame(DATA, 1, message(b"one") + message(b"two")))
    assert [came.data for came in table.machine.frames if isinstance(came, DataFrame)] == [message(b"one")]
    assert table.counts == (0, 1, 1)


def test_a_call_that_came_with_its_reset() -> None:
    table = Table()
    call = frame(HEADERS, 1, plain(request()), END_HEADERS) + frame(DATA, 1, message(b"hello"))
    table.feed(call, rst_stream(1))
    assert table.counts == (0, 1, 1)
    assert not [came for came in table.machine.frames if came.stream_id == 1]


# === one message each way ===


def served(*messages: bytes) -> list[bytes]:
    unary = Unary(lambda text: text.upper())
    got: list[bytes] = []
    for each in messages:
        got += take(unary.receive(each))
    return got + take(unary.half_close())


def take(parts: Iterable[bytes]) -> list[bytes]:
    return list(parts)


def test_a_unary_call_answers_at_the_end() -> None:
    assert served(b"hello") == [b"HELLO"]


@pytest.mark.parametrize("messages", [(), (b"one", b"two")])
def test_a_unary_call_has_one_message(messages: tuple[bytes, ...]) -> None:
    with pytest.raises(Status) as caught:
        served(*messages)
    assert caught.value.code is Code.INTERNAL


# === trailers ===


def test_the_trailers_of_most_calls_are_made_once() -> None:
    assert trailers(Status(Code.OK), alone=False) is trailers(Status(Code.OK), alone=False)
    assert trailers(Status(Code.OK), alone=False) == encode(((b"grpc-status", b"0"),))


def test_a_text_is_cut_and_its_white_space_kept_inside() -> None:
    block = trailers(Status(Code.INTERNAL, " a b " + "x" * 5_000), alone=False)
    assert len(block) < 1_100
