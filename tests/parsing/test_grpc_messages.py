import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.request import Usage
from endpoint_picker.parsing.grpc_messages import LARGEST, Frames, MessageReader, only_message
from tests.fakes.parsing import split
from tests.fakes.protobuf import frame


def test_the_message_of_a_request_is_what_its_frame_holds() -> None:
    assert only_message(b"\x00\x00\x00\x00\x03abc") == b"abc"
    assert only_message(b"\x00\x00\x00\x00\x00") == b""


def test_what_follows_the_first_frame_of_a_request_is_not_read() -> None:
    assert only_message(frame(b"abc") + b"rest") == b"abc"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "0 are there"),
        (b"\x00\x00\x00\x00", "begins with 5 bytes, 4 are there"),
        (b"\x01\x00\x00\x00\x00", "compressed"),
        (b"\x00\x00\x00\x00\x04abc", "the frame has 9 bytes, 8 are there"),
        (b"\x00\xff\xff\xff\xff", "4294967300"),
    ],
)
def test_a_request_that_is_not_one_whole_message_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        only_message(body)


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(0, 300)))
def test_messages_come_out_however_the_chunks_are_cut(messages: list[bytes], places: list[int]) -> None:
    frames = Frames()
    data = b"".join(map(frame, messages))
    found = [message for chunk in split(data, places) for message in frames.feed(chunk)]
    assert found == messages


@pytest.mark.parametrize("cut", [1, 5, 6, LARGEST, LARGEST + 5, LARGEST + 6, LARGEST + 8])
def test_a_message_that_is_too_large_is_skipped_and_the_next_is_read(cut: int) -> None:
    frames = Frames()
    data = frame(bytes(LARGEST + 1)) + frame(b"next")
    assert frames.feed(data[:cut]) + frames.feed(data[cut:]) == [b"next"]


def test_a_message_that_is_skipped_may_come_in_many_chunks() -> None:
    frames = Frames()
    data = frame(bytes(LARGEST + 1)) + frame(b"next")
    chunks = [data[at : at + 50_000] for at in range(0, len(data), 50_000)]
    assert [found for chunk in chunks for found in frames.feed(chunk)] == [b"next"]
    assert frames.feed(frame(b"and one more")) == [b"and one more"]


def test_no_more_than_one_message_is_held() -> None:
    frames = Frames()
    frames.feed(b"\x00\xff\xff\xff\xff")
    for _ in range(100):
        assert frames.feed(bytes(100_000)) == []
    assert len(frames._held) == 0
    frames = Frames()
    frames.feed(frame(bytes(LARGEST))[:-1])
    assert len(frames._held) == LARGEST + 4


def test_a_compressed_message_is_left_out() -> None:
    assert Frames().feed(frame(b"a", compressed=True) + frame(b"b")) == [b"b"]


def test_a_message_that_cannot_be_read_leaves_what_others_said() -> None:
    def read(message: bytes) -> Usage:
        return Usage(int(message))

    reader = MessageReader(read)
    reader.feed(frame(b"7") + frame(b"x"))
    assert reader.finish() == Usage(7)
