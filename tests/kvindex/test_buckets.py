"""The hash set under the index, crowded far beyond what the index does to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.kvindex.buckets import ABSENT, FIRST_KEY, WIDTH, Buckets, Homes, Keys, Slots

SPAN, SPANS = 5, 2
ROOM = SPAN * WIDTH
"""Slots of one span."""

operations = st.lists(
    st.tuples(st.sampled_from(["put", "release"]), st.booleans(), st.integers(0, 60), st.integers(0, 2**32)),
    min_size=1,
    max_size=12,
)
"""What to do, whether for a few keys, with how many, and the seed of which."""


def homes_of(keys: Keys) -> Homes:
    """All keys start in a few buckets, so that most searches go on."""
    start = np.array([0, 1, 4, 5, 9], np.int64)
    return start[(keys % np.uint64(5)).astype(np.int64)]


def span_of(keys: Keys) -> Homes:
    return homes_of(keys) // SPAN


def find(buckets: Buckets, keys: Keys, *, few: bool) -> list[int]:
    if few:
        return buckets.find_few(keys.tolist(), homes_of(keys).tolist())
    slots: list[int] = buckets.find(keys, homes_of(keys)).tolist()
    return slots


def put(buckets: Buckets, keys: Keys, *, few: bool) -> list[int]:
    if few:
        return buckets.put_few(keys.tolist(), homes_of(keys).tolist())
    slots: list[int] = buckets.claim(keys, homes_of(keys)).tolist()
    return slots


def release(buckets: Buckets, slots: list[int], *, few: bool) -> None:
    if few:
        keys = buckets.keys[slots].tolist()
        assert buckets.release_few(slots) == keys
    else:
        buckets.release(np.array(slots, np.int64))


@given(operations)
@settings(max_examples=120, deadline=None)
def test_keys_are_found_where_they_were_put_however_crowded_it_is(
    steps: list[tuple[str, bool, int, int]],
) -> None:
    buckets, held = Buckets(SPAN * SPANS, span=SPAN), dict[int, int]()
    for action, few, count, seed in steps:
        rng = np.random.default_rng(seed)
        if action == "put":
            keys = np.setdiff1d(
                rng.integers(FIRST_KEY, 600, count, dtype=np.uint64), np.array(list(held), np.uint64)
            )
            pairs = zip(keys.tolist(), put(buckets, keys, few=few), strict=True)
            held |= {key: slot for key, slot in pairs if slot != ABSENT}
            # What found no room did so only because its span is full.
            for span in set(span_of(keys[~np.isin(keys, list(held))]).tolist()):
                assert sum(slot // ROOM == span for slot in held.values()) == ROOM
        elif held:
            gone = rng.choice(list(held), min(count, len(held)), replace=False).tolist()
            release(buckets, [held.pop(key) for key in gone], few=few)
        everything = np.arange(FIRST_KEY, 600, dtype=np.uint64)
        expected = [held.get(key, ABSENT) for key in everything.tolist()]
        assert find(buckets, everything, few=False) == find(buckets, everything, few=True) == expected
        for span in range(SPANS):
            assert sum(slot // ROOM == span for slot in held.values()) <= buckets.used[span] <= ROOM


@given(st.lists(st.integers(FIRST_KEY, 500), max_size=40), st.lists(st.integers(FIRST_KEY, 500), max_size=40))
@settings(max_examples=100, deadline=None)
def test_putting_what_is_there_already_finds_it(first: list[int], second: list[int]) -> None:
    buckets, held = Buckets(SPAN * SPANS, span=SPAN), dict[int, int]()
    for batch in (first, second):
        keys = np.array(batch, np.uint64)
        for key, slot in zip(batch, put(buckets, keys, few=True), strict=True):
            if slot != ABSENT:
                assert held.setdefault(key, slot) == slot


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("count", [3, 30])
def test_what_is_freed_counts_as_used_only_where_searches_have_passed(count: int, few: bool) -> None:
    buckets, keys = Buckets(SPAN, span=SPAN), np.arange(5, 5 * (1 + count), 5, dtype=np.uint64)
    slots = put(buckets, keys, few=few)
    assert buckets.used[0] == count
    release(buckets, slots, few=few)
    passed = count // WIDTH * WIDTH
    assert buckets.used[0] == passed
    assert sorted(put(buckets, keys, few=few)) == sorted(slots)
    assert buckets.used[0] == count


def test_filling_puts_every_key_where_a_search_finds_it() -> None:
    buckets, keys = Buckets(SPAN * SPANS, span=SPAN), np.arange(2, 2 + 70, dtype=np.uint64)
    keys = keys[(span_of(keys) == 1) | (keys < 60)]
    slots: Slots = buckets.fill(keys, homes_of(keys))
    assert (slots != ABSENT).all()
    assert buckets.find(keys, homes_of(keys)).tolist() == slots.tolist()


def test_a_set_that_was_cleared_or_extended_is_as_good_as_new() -> None:
    buckets, keys = Buckets(SPAN, span=SPAN), np.arange(5, 155, 5, dtype=np.uint64)
    put(buckets, keys, few=True)
    buckets.extend(1)
    assert (buckets.used.tolist(), ABSENT in find(buckets, keys, few=True)) == ([30, 0], False)
    buckets.clear(0)
    assert buckets.used.tolist() == [0, 0]
    assert set(find(buckets, keys, few=False)) == {ABSENT}
    assert sorted(put(buckets, keys, few=True)) == sorted(range(30))
