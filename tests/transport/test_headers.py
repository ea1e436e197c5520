"""Header blocks; which fields are malformed stands in conformance/test_http_8."""

import contextlib

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.transport import headers
from endpoint_picker.transport.frames import ConnectionFault, ErrorCode
from endpoint_picker.transport.headers import EMPTY_TABLE, REMEMBERED, Decoder, Head, Malformed
from tests.fakes.http2_client import plain

TARGET = plain([(":method", "POST"), (":scheme", "http"), (":path", "/a/b")])
KEPT = b"\x40"
"""Before a name and a value: a field that goes into the table."""
NEWEST = b"\xbe"
"""A whole block of a field: the newest of the table."""


def kept(name: str, value: str) -> bytes:
    return KEPT + plain([(name, value)])[1:]


def test_an_equal_block_means_another_thing_after_the_table_has_changed() -> None:
    decoder = Decoder(1 << 15)
    decoder.head(TARGET + kept("x", "one"))
    block = TARGET + NEWEST
    assert decoder.head(block).get(b"x") == b"one"
    assert decoder.head(block) is decoder.head(block)
    decoder.head(TARGET + kept("x", "two"))
    assert decoder.head(block).get(b"x") == b"two"


@pytest.mark.parametrize("by", ["trailers", "skip", "malformed", "resize"])
def test_whatever_changes_the_table_makes_blocks_mean_another_thing(by: str) -> None:
    decoder = Decoder(1 << 15)
    decoder.head(TARGET + kept("x", "one"))
    block = TARGET + NEWEST
    assert decoder.head(block).get(b"x") == b"one"
    if by == "trailers":
        decoder.trailers(kept("x", "two"))
    elif by == "skip":
        decoder.skip(kept("x", "two"))
    elif by == "malformed":
        with pytest.raises(Malformed):
            decoder.head(kept("x", "two"))
    else:
        decoder.skip(b"\x20\x3f\xe1\x1f" + kept("x", "two"))  # emptied, then as large as before
    assert decoder.head(block).get(b"x") == b"two"


def test_an_emptied_table_is_noticed() -> None:
    decoder = Decoder(1 << 15)
    decoder.head(TARGET + kept("x", "one"))
    block = TARGET + NEWEST
    decoder.head(block)
    decoder.skip(b"\x20\x3f\xe1\x1f")
    with pytest.raises(ConnectionFault) as caught:
        decoder.head(block)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize("resize", [b"\x3f\x09", b"\x3f\x09\x3f\xe1\x1f"], ids=["smaller", "and-back"])
def test_a_table_that_lost_its_oldest_field_is_noticed(resize: bytes) -> None:
    """Though its newest is the same."""
    decoder = Decoder(1 << 15)
    decoder.head(TARGET + kept("x", "one"))
    decoder.head(TARGET + kept("y", "two"))
    oldest = TARGET + b"\xbf"
    assert decoder.head(oldest).get(b"x") == b"one"
    decoder.skip(resize)
    with pytest.raises(ConnectionFault):
        decoder.head(oldest)


def test_only_so_many_blocks_are_remembered() -> None:
    decoder = Decoder(1 << 15)
    blocks = [TARGET + plain([("x", str(at))]) for at in range(2 * REMEMBERED)]
    heads = [decoder.head(block) for block in blocks]
    again = [decoder.head(block) for block in blocks]
    assert again == heads
    assert sum(one is two for one, two in zip(heads, again, strict=True)) == REMEMBERED


# === our cache against hpack alone ===

NAMES = st.sampled_from(["x", "y", "content-type"])
VALUES = st.sampled_from(["", "1", "2", "v" * 1500])
FIELDS = st.one_of(
    st.builds(lambda name, value: plain([(name, value)]), NAMES, VALUES),
    st.builds(kept, NAMES, VALUES),
    st.builds(lambda at: bytes([0x80 | at]), st.integers(58, 68)),
)
RESIZE = st.sampled_from([b"", b"", b"", b"\x20", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f", b"\x3f\x09"])
BLOCKS = st.builds(
    lambda size, fields: size + TARGET + b"".join(fields), RESIZE, st.lists(FIELDS, max_size=4)
)


@settings(max_examples=200, deadline=None)
@given(pool=st.lists(BLOCKS, min_size=1, max_size=5), order=st.lists(st.integers(0, 4), max_size=30))
def test_remembering_changes_no_meaning(pool: list[bytes], order: list[int]) -> None:
    ours, reference = Decoder(1 << 15), hpack.Decoder(1 << 15)
    for at in order:
        block = pool[at % len(pool)]
        try:
            fields = [(bytes(name), bytes(value)) for name, value in reference.decode(block, raw=True)]
        except hpack.HPACKError:
            with pytest.raises(ConnectionFault):
                ours.head(block)
            return
        assert list(ours.head(block).fields) == fields[3:]


@settings(max_examples=200, deadline=None)
@given(block=st.binary(max_size=60))
def test_any_bytes_are_a_request_or_a_fault(block: bytes) -> None:
    with contextlib.suppress(Malformed, ConnectionFault):
        assert isinstance(Decoder(1000).head(block), Head)


# === what we send ===

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10).map(str.encode)


@given(sections=st.lists(st.lists(st.tuples(TOKENS, st.binary(max_size=20)), max_size=5), max_size=5))
def test_our_blocks_need_no_table(sections: list[list[tuple[bytes, bytes]]]) -> None:
    """So each of them may be kept for all connections."""
    decoder = hpack.Decoder()
    decoder.decode(EMPTY_TABLE)
    decoder.max_allowed_table_size = 0
    for section in sections:
        for _ in range(2):
            block = headers.encode(tuple(section))
            assert [tuple(field) for field in decoder.decode(block, raw=True)] == section
    assert not decoder.header_table.dynamic_entries
