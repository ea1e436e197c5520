"""Bodies take no more than their room, and leave nothing in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.errors import PayloadTooLarge, ServiceUnavailable
from endpoint_picker.extproc.gathered import PART_BYTES, Gathered, Room
from tests.fakes.playbook import request_body, request_headers
from tests.fakes.routing import Pool
from tests.fakes.talks import talk


@given(st.lists(st.binary(max_size=50)), st.booleans())
def test_what_was_gathered_comes_out_whole_and_leaves_the_room_empty(
    parts: list[bytes], broken: bool
) -> None:
    room = Room(body=10_000, total=10_000)
    gathered = Gathered(room)
    for part in parts:
        gathered.add(part)
    assert room.held == sum(map(len, parts)) + PART_BYTES * len(parts)
    if broken:
        gathered.close()
    else:
        assert gathered.take() == b"".join(parts)
    assert room.held == 0


def test_a_body_that_is_too_large_is_let_go() -> None:
    room = Room(body=10, total=1000)
    gathered = Gathered(room)
    gathered.add(bytes(10))
    with pytest.raises(PayloadTooLarge, match="10 bytes"):
        gathered.add(b"x")
    assert room.held == 0


def test_bodies_that_are_too_large_together_cost_the_last_one() -> None:
    room = Room(body=1000, total=1000)
    first, second = Gathered(room), Gathered(room)
    first.add(bytes(800))
    with pytest.raises(ServiceUnavailable, match="max-gathered-body-bytes"):
        second.add(bytes(200))
    assert first.take() == bytes(800)
    second.add(bytes(200))
    assert second.take() == bytes(200)


def test_a_conversation_that_breaks_off_leaves_the_room_empty(pool: Pool) -> None:
    book = talk(pool) >> request_headers() >> request_body(bytes(1000), end=False)
    assert pool.room.held == 1000 + PART_BYTES
    book.stream.close()
    assert pool.room.held == 0
