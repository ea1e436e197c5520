import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.parsing.sse import LONGEST_LINE, Events
from tests.fakes.parsing import split


def taken(*chunks: bytes, whole: bytes = b"}") -> list[bytes]:
    """The data with the word `use` that was handed on and made sense: it ends like this."""
    found: list[bytes] = []

    def take(data: bytes) -> bool:
        assert b"use" in data
        sensible = data.endswith(whole)
        if sensible:
            found.append(data)
        return sensible

    events = Events(b"use", take)
    for chunk in chunks:
        events.feed(chunk)
    events.end()
    return found


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("colon", [b"data:", b"data: "])
def test_lines_end_in_three_ways(end: bytes, colon: bytes) -> None:
    stream = (
        colon + b"{use 1}" + end * 2 + b": use}" + end + b"event: use}" + end + colon + b"{use 2}" + end * 2
    )
    assert taken(stream) == [b"{use 1}", b"{use 2}"]


def test_lines_of_one_event_are_joined() -> None:
    assert taken(b"data: {use\ndata:,a\ndata: 2}\n\n") == [b"{use\n,a\n2}"]
    assert taken(b"data: {use\n", b"data: 2}\n\n") == [b"{use\n2}"]
    assert taken(b"data: {use\n\ndata: 2}\n\n") == []
    assert taken(b"data: {\ndata: use 1}\ndata: [DONE]\n\n") == [b"use 1}"]


def test_a_line_is_taken_at_once_where_events_are_not_ended() -> None:
    assert taken(b"data: {use 1}\ndata: x\ndata: {use 2}\ndata: [DONE]\n") == [b"{use 1}", b"{use 2}"]


def test_the_last_line_needs_no_end() -> None:
    assert taken(b"data: {us", b"e 1}") == [b"{use 1}"]
    assert taken(b"data: {use\ndata: 1}") == [b"{use\n1}"]


def test_only_one_space_is_no_data() -> None:
    assert taken(b"data:  use}\n\n") == [b" use}"]


def test_a_line_end_of_two_halves_is_one_line_end() -> None:
    assert taken(b"data: {use\r", b"\ndata: 1}\r", b"\n\r", b"\n") == [b"{use\n1}"]
    assert taken(b"data: {use\r", b"\n", b"\n", b"data: 1}\n\n") == []


PIECES = st.sampled_from(
    [b"data: ", b"data:", b"{", b"use", b"}", b"\n", b"\r", b"\r\n", b"x", b"\n\n", b": "]
)


@given(st.lists(PIECES, max_size=25), st.lists(st.integers(0, 100), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_split_gives_the_same_events(pieces: list[bytes], places: list[int]) -> None:
    stream = b"".join(pieces)
    assert taken(*split(stream, places)) == taken(stream)


@given(st.lists(st.binary(max_size=12), max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    taken(*chunks)


def test_a_line_without_end_is_skipped_and_the_next_is_read() -> None:
    endless = [b"data: use"] + [b"x" * 65536] * 20
    assert taken(*endless, b"}\n\ndata: {use 1}\n\n") == [b"{use 1}"]
    assert taken(b"".join(endless) + b"}\n\ndata: {use 1}\n\n") == [b"{use 1}"]
    assert taken(*endless, b"}\n\n", b"data: {use 1}\n\n") == [b"{use 1}"]


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"data:\n" * 10_000, b"data: " + b"x" * 60_000 + b"\n"])
def test_memory_is_bounded(chunk: bytes) -> None:
    events = Events(b"use", lambda data: False)
    events.feed(b"data: use")
    tracemalloc.start()
    for _ in range(25):
        events.feed(chunk)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.3 * LONGEST_LINE
