"""Flow control of what we send, against a count of its own; the rest stands in conformance and attacks."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hyperframe.frame import DataFrame, HeadersFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.http2_client import END_HEADERS, HEADERS, frame, plain, request, rst_stream, window_update
from tests.fakes.http2_client import settings as settings_frame
from tests.fakes.machine import Machine

STREAMS = (1, 3, 5)
LARGEST = 2**31 - 1


@dataclass
class Model:
    """What a client knows of windows, and of what it has got."""

    machine: Machine
    initial: int = 65_535
    connection: int = 65_535
    streams: dict[int, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 65_535))
    sent: dict[int, bytes] = field(default_factory=lambda: dict.fromkeys(STREAMS, b""))
    got: dict[int, bytes] = field(default_factory=lambda: dict.fromkeys(STREAMS, b""))
    ended: set[int] = field(default_factory=set)
    blocked: bool = False
    seen: int = 0

    def look(self) -> None:
        """No frame goes beyond a window, and none is empty."""
        self.machine.take()
        for came in self.machine.frames[self.seen :]:
            if isinstance(came, DataFrame):
                size = len(came.data)
                self.connection -= size
                self.streams[came.stream_id] -= size
                self.got[came.stream_id] += came.data
                assert size > 0
                assert self.connection >= 0, "6.9.1: the connection's window"
                assert self.streams[came.stream_id] >= 0, "6.9.1: the stream's window"
                assert came.stream_id not in self.ended
            elif isinstance(came, HeadersFrame):
                self.ended.add(came.stream_id)
        self.seen = len(self.machine.frames)

    def send(self, stream: int, size: int) -> None:
        data = bytes(at & 0xFF for at in range(size))
        self.sent[stream] += data
        self.machine.connection.send(stream, data)

    def open_stream(self, stream: int, size: int) -> None:
        if self.streams[stream] + size <= LARGEST:
            self.streams[stream] += size
            self.machine.feed(window_update(stream, size))

    def open_connection(self, size: int) -> None:
        self.connection += size
        self.machine.feed(window_update(0, size))

    def resize(self, initial: int) -> None:
        for stream in STREAMS:
            self.streams[stream] += initial - self.initial
        self.initial = initial
        self.machine.feed(settings_frame((4, initial)))

    def block(self) -> None:
        self.blocked = not self.blocked
        self.machine.connection.block_output(self.blocked)


Step = Callable[[Model], None]
SIZES = st.one_of(st.integers(1, 20), st.integers(1, 3000), st.integers(16_000, 40_000))


def step(name: str, *arguments: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.tuples(*arguments).map(lambda values: lambda model: getattr(model, name)(*values))


STEPS = st.one_of(
    step("send", st.sampled_from(STREAMS), SIZES),
    step("send", st.sampled_from(STREAMS), SIZES),
    step("open_stream", st.sampled_from(STREAMS), SIZES),
    step("open_connection", SIZES),
    step("resize", st.one_of(st.just(0), SIZES)),
    step("block"),
)


def begun(stream_window: int = 1 << 20) -> Machine:
    machine = Machine(burst=10_000, stream_window=stream_window)
    machine.feed(*(frame(HEADERS, stream, plain(request()), END_HEADERS) for stream in STREAMS))
    return machine


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_no_window_is_ever_exceeded_and_nothing_is_lost(steps: list[Step]) -> None:
    model = Model(begun())
    model.send(1, 64_000)  # the connection's window is nearly used up
    model.open_stream(1, 64_000)
    for each in steps:
        each(model)
        model.look()
        for stream in STREAMS:
            assert model.sent[stream].startswith(model.got[stream])
        if not model.blocked:
            open_streams = [s for s in STREAMS if model.got[s] != model.sent[s] and model.streams[s] > 0]
            assert not open_streams or model.connection == 0, "what may be sent is sent"
    finish(model)
    assert model.got == model.sent
    assert model.ended == set(STREAMS)


def finish(model: Model) -> None:
    """Our sides end, then all windows open."""
    for stream in STREAMS:
        model.machine.connection.finish(stream, b"\x88")
    model.look()
    if model.blocked:
        model.block()
    model.open_connection(1 << 24)
    for stream in STREAMS:
        model.look()
        model.open_stream(stream, 1 << 24)
    model.look()


def test_the_connection_is_shared_in_turn() -> None:
    machine = begun()
    model = Model(machine)
    machine.feed(settings_frame((4, 1 << 20)))
    machine.connection.send(1, bytes(65_535))
    for stream in (3, 5):
        machine.connection.send(stream, bytes(100_000))
    machine.take()
    before = len(machine.frames)
    model.machine.feed(window_update(0, 4 * 16_384))
    assert [came.stream_id for came in machine.frames[before:]] == [3, 5, 3, 5]


def test_a_window_that_shrinks_while_the_stream_waits_for_the_connection() -> None:
    machine = begun()
    machine.feed(settings_frame((4, 1 << 20)))
    machine.connection.send(1, bytes(70_000))
    machine.take()
    machine.feed(settings_frame((4, 0)))
    before = len(machine.frames)
    machine.feed(window_update(0, 1 << 20))
    assert machine.frames[before:] == []


def test_small_answers_that_wait_leave_together() -> None:
    machine = begun()
    machine.feed(settings_frame((4, 0)))
    for at in range(100):
        machine.connection.send(1, bytes([at]))
    before = len(machine.frames)
    machine.feed(window_update(1, 1000))
    (came,) = machine.frames[before:]
    assert isinstance(came, DataFrame)
    assert came.data == bytes(range(100))


def test_an_answer_that_a_reset_overtakes_is_not_followed_by_one_of_ours() -> None:
    """6.4: nothing more is sent on a stream that the peer has reset."""
    machine = begun()
    machine.feed(settings_frame((4, 0)))
    machine.connection.send(1, b"waits")
    machine.connection.finish(1, b"\x88")
    machine.take()
    machine.feed(window_update(1, 1000), rst_stream(1))
    assert not machine.resets
    machine.feed(window_update(3, 1000))
    assert not machine.resets


def test_no_window_is_opened_by_nothing() -> None:
    machine = begun(stream_window=1)
    for blocked in (True, False):
        machine.connection.block_output(blocked)
        machine.take()  # hyperframe refuses an increment of 0
    assert machine.opened(1) == 0


def test_while_the_socket_takes_nothing_the_peer_gets_no_leave() -> None:
    machine = begun(stream_window=1000)
    machine.connection.block_output(True)
    machine.feed(frame(0, 1, bytes(900)))
    assert machine.opened(1) == 0
    machine.connection.block_output(False)
    machine.take()
    assert machine.opened(1) == 900
