"""The block cache: what chained hashes tell apart, and who is evicted when."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.blocks import BlockCache, Tokens, chain, seed_of


def ids(*values: int) -> Tokens:
    return np.array(values, dtype=np.uint32)


def filled(cache: BlockCache, hashes: list[int]) -> None:
    """Compute and give back a prompt with these blocks."""
    assert cache.reserve(len(hashes))
    for key in hashes:
        assert cache.publish(key)
    cache.release(hashes, 0)


def test_a_chain_has_one_hash_for_each_full_block() -> None:
    assert [len(chain(ids(*range(n)), 4)) for n in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]


def test_a_hash_depends_on_all_that_came_before() -> None:
    one, other = chain(ids(1, 2, 3, 4, 5, 6), 2), chain(ids(9, 2, 3, 4, 5, 6), 2)
    assert not set(one) & set(other)


def test_adapters_and_salts_start_other_chains() -> None:
    roots = {seed_of(), seed_of("a"), seed_of("", "a"), seed_of("a", "a")}
    assert len({chain(ids(1, 2), 2, root)[0] for root in roots}) == 4


def test_hashes_are_the_same_in_every_process() -> None:
    assert chain(ids(1, 2, 3, 4), 2, seed_of("lora")) == [-4453789555416364566, 1510172668782183057]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.lists(st.integers(0, 2**32 - 1), max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_common_prefix_gives_exactly_common_hashes(prefix: list[int], rest: list[int]) -> None:
    whole = chain(ids(*prefix, *rest), 4)
    start = chain(ids(*prefix), 4)
    assert whole[: len(start)] == start
    changed = chain(ids(*prefix, *[value ^ 1 for value in rest]), 4)
    same = sum(a == b for a, b in zip(whole, changed, strict=True))
    # A block that holds part of the rest differs, hence all after it do; without a rest nothing does.
    assert same == len(start)


def test_the_longest_unused_content_goes_first_and_a_prompt_loses_its_tail_before_its_head() -> None:
    cache = BlockCache(4)
    filled(cache, [1, 2])
    filled(cache, [3, 4])
    assert cache.reserve(1)
    assert [cache.match([key]) for key in (1, 2, 3, 4)] == [1, 0, 1, 1]
    assert cache.reserve(1)
    assert [cache.match([key]) for key in (1, 3, 4)] == [0, 1, 1]
    assert cache.evictions == 2


def test_use_renews_content() -> None:
    cache = BlockCache(2)
    filled(cache, [1])
    filled(cache, [2])
    cache.take([1])
    cache.release([1], 0)
    assert cache.reserve(1)
    assert (cache.match([1]), cache.match([2])) == (1, 0)


def test_shared_blocks_are_taken_once_and_freed_by_the_last_holder() -> None:
    cache = BlockCache(3)
    filled(cache, [1, 2])
    cache.take([1, 2])
    cache.take([1])
    assert (cache.free, cache.usage) == (1, 2 / 3)
    cache.release([1, 2], 0)
    assert cache.free == 2
    cache.release([1], 0)
    assert cache.free == 3


def test_held_content_is_never_evicted() -> None:
    cache = BlockCache(2)
    filled(cache, [1])
    cache.take([1])
    assert not cache.reserve(2)
    assert cache.reserve(1)
    assert cache.match([1]) == 1


def test_content_that_exists_already_stays_private() -> None:
    cache = BlockCache(3)
    filled(cache, [1])
    assert cache.reserve(1)
    assert not cache.publish(1)
    cache.release([], 1)
    assert cache.free == 3


def test_clearing_is_refused_while_blocks_are_in_use() -> None:
    cache = BlockCache(2)
    filled(cache, [1])
    cache.take([1])
    assert not cache.clear()
    cache.release([1], 0)
    assert cache.clear()
    assert cache.match([1]) == 0
