"""The map from blocks to holders: what the index on top cannot provoke at will."""

import numpy as np

from endpoint_picker.kvindex.blockmap import BlockMap
from endpoint_picker.kvindex.buckets import Keys
from endpoint_picker.kvindex.holders import NOBODY


def random_keys(rng: np.random.Generator, count: int) -> Keys:
    return rng.integers(2, 2**64, count, dtype=np.uint64)


def test_slots_that_were_left_are_cleaned_instead_of_splitting_pages() -> None:
    rng, blocks = np.random.default_rng(1), BlockMap()
    held = random_keys(rng, 2_000)
    blocks.add(held, 0)
    before = blocks.nbytes
    for _ in range(400):
        order = rng.permutation(2_000)
        old, kept = held[order[:500]], held[order[500:]]
        new = random_keys(rng, 500)
        blocks.discard(old, 0)
        blocks.add(new, 0)
        held = np.concatenate([kept, new])
        assert (blocks.holders(old) == NOBODY).all()
    assert (blocks.holders(held) == 1).all()
    assert blocks.blocks == 2_000
    assert blocks.nbytes == before


def test_keys_made_to_collide_cost_room_but_nothing_breaks() -> None:
    # The same top bits: no split ever separates them, so only one page's worth of them finds room.
    blocks, keys = BlockMap(), np.arange(1, 6_001, dtype=np.uint64) << np.uint64(31)
    blocks.add(keys, 0)
    held = blocks.holders(keys) != NOBODY
    assert held.sum() == 4_096
    assert blocks.blocks == held.sum()
    blocks.discard(keys, 0)
    assert blocks.blocks == 0
    others = random_keys(np.random.default_rng(2), 5_000)
    blocks.add(others, 1)
    assert (blocks.holders(others) == 2).all()


def test_discarding_what_is_not_held_changes_nothing() -> None:
    rng, blocks = np.random.default_rng(3), BlockMap()
    keys = random_keys(rng, 50)
    blocks.add(keys, 3)
    blocks.discard(random_keys(rng, 50), 3)
    blocks.discard(keys, 200)
    assert (blocks.holders(keys) == 4).all()
