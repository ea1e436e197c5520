"""The hash set under the index, crowded far beyond what the index does to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.kvindex.buckets import ABSENT, WIDTH, Buckets, Homes, Keys

SPAN, SPANS = 5, 2
ROOM = SPAN * WIDTH
"""Slots of one span."""

operations = st.lists(
    st.tuples(st.sampled_from(["claim", "release"]), st.integers(0, 60), st.integers(0, 2**32)),
    min_size=1,
    max_size=12,
)


def homes_of(keys: Keys) -> Homes:
    """All keys start in a few buckets, so that most searches go on."""
    start = np.array([0, 1, 4, 5, 9], np.int64)
    return start[(keys % np.uint64(5)).astype(np.int64)]


def span_of(keys: Keys) -> Homes:
    return homes_of(keys) // SPAN


@given(operations, st.booleans())
@settings(max_examples=150, deadline=None)
def test_keys_are_found_where_they_were_put_however_crowded_it_is(
    steps: list[tuple[str, int, int]], one_by_one: bool
) -> None:
    buckets, held = Buckets(SPAN * SPANS, span=SPAN), dict[int, int]()
    for action, count, seed in steps:
        rng = np.random.default_rng(seed)
        if action == "claim":
            keys = np.setdiff1d(
                rng.integers(2, 5_000, count, dtype=np.uint64), np.array(list(held), np.uint64)
            )
            for batch in np.split(keys, len(keys)) if one_by_one and len(keys) else [keys]:
                slots, _ = buckets.claim(batch, homes_of(batch))
                pairs = zip(batch.tolist(), slots.tolist(), strict=True)
                held |= {key: slot for key, slot in pairs if slot != ABSENT}
            # What found no room did so only because its span is full.
            for span in set(span_of(keys[~np.isin(keys, list(held))]).tolist()):
                assert sum(slot // ROOM == span for slot in held.values()) == ROOM
        elif held:
            gone = rng.choice(list(held), min(count, len(held)), replace=False).tolist()
            buckets.release(np.array([held.pop(key) for key in gone], np.int64))
        everything = np.arange(2, 5_000, dtype=np.uint64)
        found = buckets.find(everything, homes_of(everything))
        assert found.tolist() == [held.get(key, ABSENT) for key in everything.tolist()]
        few = everything[rng.integers(0, len(everything), 10)]
        few = np.concatenate([few, np.array(list(held)[:10], np.uint64)])
        assert buckets.find(few, homes_of(few)).tolist() == [held.get(key, ABSENT) for key in few.tolist()]


@pytest.mark.parametrize("count", [3, 30])
def test_a_lane_is_as_good_as_new_only_where_its_bucket_was_never_full(count: int) -> None:
    buckets, keys = Buckets(10, span=10), np.arange(2, 2 + count, dtype=np.uint64)
    homes = np.zeros(count, np.int64)
    slots, empty = buckets.claim(keys, homes)
    assert empty.all()
    full = slots // WIDTH < count // WIDTH
    assert buckets.release(slots).tolist() == (~full).tolist()
    again, empty = buckets.claim(keys, homes)
    assert sorted(again.tolist()) == sorted(slots.tolist())
    assert empty.sum() == (~full).sum()


def test_filling_puts_every_key_where_a_search_finds_it() -> None:
    buckets, keys = Buckets(SPAN * SPANS, span=SPAN), np.arange(2, 2 + 70, dtype=np.uint64)
    keys = keys[(span_of(keys) == 1) | (keys < 60)]
    slots = buckets.fill(keys, homes_of(keys))
    assert (slots != ABSENT).all()
    assert buckets.find(keys, homes_of(keys)).tolist() == slots.tolist()
