import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.transport.messages import Code, Messages, Room, Status
from tests.fakes.http2_client import message

MOST = 1000


def reader(room: Room | None = None, *, compressed: bool = False, limit: int = MOST) -> Messages:
    return Messages(limit, room or Room(1 << 20), compressed=compressed)


def code(messages: Messages, data: bytes) -> Code:
    with pytest.raises(Status) as caught:
        messages.feed(data)
    return caught.value.code


@settings(deadline=None)
@given(
    sent=st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=6),
    cuts=st.sets(st.integers(1, 600), max_size=20),
)
def test_a_message_may_begin_and_end_anywhere(sent: list[tuple[bytes, bool]], cuts: set[int]) -> None:
    data = b"".join(message(gzip.compress(each), 1) if packed else message(each) for each, packed in sent)
    ends = sorted(cut for cut in cuts if cut < len(data))
    room = Room(1 << 20)
    messages = reader(room, compressed=True)
    got: list[bytes] = []
    for begin, end in zip([0, *ends], [*ends, len(data)], strict=True):
        got += messages.feed(data[begin:end])
    assert got == [each for each, _ in sent]
    assert (messages.held, room.used) == (0, 0)


@pytest.mark.parametrize("size", [MOST + 1, 2**32 - 1])
def test_a_message_is_refused_by_its_length_alone(size: int) -> None:
    assert code(reader(), b"\0" + size.to_bytes(4, "big")) is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("size", [MOST - 5, MOST - 4, MOST])
def test_a_message_of_the_limit_is_taken(size: int) -> None:
    assert list(reader().feed(message(bytes(size)))) == [bytes(size)]


def test_a_whole_message_over_the_limit_is_refused() -> None:
    assert code(reader(), message(bytes(MOST + 1))) is Code.RESOURCE_EXHAUSTED


def test_unpacking_stops_at_the_limit() -> None:
    messages = reader(compressed=True)
    assert code(messages, message(gzip.compress(bytes(1 << 20)), 1)) is Code.RESOURCE_EXHAUSTED
    assert list(reader(compressed=True).feed(message(gzip.compress(bytes(MOST)), 1))) == [bytes(MOST)]


@pytest.mark.parametrize(
    ("data", "compressed"),
    [
        pytest.param(message(b"x", 2), True, id="unknown-flag"),
        pytest.param(message(gzip.compress(b"x"), 1), False, id="packed-without-encoding"),
        pytest.param(message(b"x", 1), True, id="not-gzip"),
        pytest.param(message(b"", 1), True, id="nothing-packed"),
        pytest.param(message(gzip.compress(b"x" * 100)[:-4], 1), True, id="breaks-off"),
    ],
)
def test_what_cannot_be_read(data: bytes, compressed: bool) -> None:
    assert code(reader(compressed=compressed), data) is Code.INTERNAL


def test_all_calls_share_a_room() -> None:
    room = Room(100)
    first, second = reader(room), reader(room)
    first.feed(message(bytes(200))[:60])
    assert code(second, message(bytes(200))[:60]) is Code.RESOURCE_EXHAUSTED
    second.close()
    assert room.used == 60
    third = reader(room)
    third.feed(message(bytes(200))[:40])
    first.close()
    third.close()
    assert room.used == 0


@given(data=st.binary(max_size=60), cut=st.integers(0, 60))
def test_whatever_comes_the_room_is_given_back(data: bytes, cut: int) -> None:
    room = Room(50)
    messages = reader(room, compressed=True, limit=20)
    try:
        messages.feed(data[:cut])
        messages.feed(data[cut:])
    except Status:
        pass
    messages.close()
    assert room.used == 0
