"""Block hashes: equal for equal beginnings, different for everything else."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.attributes import Tokens
from endpoint_picker.kvindex.hashing import block_hashes, prompt_seed

SIZES = (1, 3, 16, 64, 65)


def tokens(*values: int) -> Tokens:
    return np.array(values, np.uint32)


prompts = st.lists(st.integers(0, 2**32 - 1), max_size=300).map(lambda ids: np.array(ids, np.uint32))


@given(prompts, prompts, st.sampled_from(SIZES))
@settings(max_examples=150, deadline=None)
def test_prompts_share_the_hashes_of_their_common_whole_blocks_and_no_others(
    head: Tokens, rest: Tokens, size: int
) -> None:
    one, two = head, np.concatenate([head, rest])
    common = len(head) // size if len(rest) else len(block_hashes(head, size, 7))
    first, second = block_hashes(one, size, 7), block_hashes(two, size, 7)
    assert len(first) == -(-len(one) // size)
    assert len(second) == -(-len(two) // size)
    assert (first[:common] == second[:common]).all()
    assert not set(first[common:].tolist()) & set(second[common:].tolist())


@given(prompts.filter(lambda ids: len(ids) > 0), st.data())
@settings(max_examples=150, deadline=None)
def test_one_changed_bit_changes_every_hash_from_its_block_on(ids: Tokens, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(ids) - 1))
    bit = data.draw(st.integers(0, 31))
    changed = ids.copy()
    changed[place] ^= np.uint32(1 << bit)
    before, after = block_hashes(ids, 16, 7), block_hashes(changed, 16, 7)
    block = place // 16
    assert (before[:block] == after[:block]).all()
    assert (before[block:] != after[block:]).all()


def test_many_blocks_do_not_collide() -> None:
    rng = np.random.default_rng(1)
    hashes = [block_hashes(rng.integers(0, 2**32, 6400, dtype=np.uint32), 64, seed) for seed in range(2000)]
    assert len(np.unique(np.concatenate(hashes))) == 200_000


def test_blocks_that_differ_in_two_bytes_do_not_collide() -> None:
    # Templates differ like this; a sum that forgets the upper bytes of a word would confuse them.
    seen = []
    for byte in range(8):
        for places in ((0, 2), (5, 6), (1, 31)):
            grid = np.zeros((1024, 64), np.uint32)
            words = grid.view(np.uint64)
            low, high = np.divmod(np.arange(1024, dtype=np.uint64), np.uint64(32))
            words[:, places[0]] = low << np.uint64(8 * byte)
            words[:, places[1]] = high << np.uint64(8 * byte)
            seen += [int(block_hashes(row, 64, 7)[0]) for row in grid[1:]]
    # One zero word and a value in the other is the same block in another pair of places only by chance.
    assert len(set(seen)) == len(seen)


def test_order_repetition_and_zeros_matter() -> None:
    a, b, zero = np.full(64, 1, np.uint32), np.full(64, 2, np.uint32), np.zeros(64, np.uint32)
    variants = [
        [a, b],
        [b, a],
        [a, a],
        [b, b],
        [zero],
        [zero, zero],
        [zero, zero, zero],
        [a, zero],
        [zero, a],
    ]
    last = [int(block_hashes(np.concatenate(blocks), 64, 7)[-1]) for blocks in variants]
    assert len(set(last)) == len(variants)


def test_all_hashes_of_a_repeated_block_differ() -> None:
    hashes = block_hashes(np.tile(np.arange(64, dtype=np.uint32), 2000), 64, 7)
    assert len(np.unique(hashes)) == 2000


@pytest.mark.parametrize("blocks", [0, 3, 200])
def test_a_partial_block_is_no_full_block_of_zeros(blocks: int) -> None:
    whole = np.zeros((blocks + 1) * 64, np.uint32)
    hashes = {int(block_hashes(whole[: blocks * 64 + extra], 64, 7)[-1]) for extra in range(1, 65)}
    assert len(hashes) == 64


def test_an_empty_prompt_has_no_blocks() -> None:
    assert len(block_hashes(tokens(), 64, 7)) == 0
    assert len(block_hashes(tokens(), 65, 7)) == 0


def test_views_and_unaligned_buffers_hash_like_their_copies() -> None:
    raw = np.random.default_rng(2).bytes(4 * 1001)
    whole = np.frombuffer(raw, np.uint32)
    shifted = np.frombuffer(b"xxxx" + raw, np.uint32)[1:]
    assert (block_hashes(whole, 64, 7) == block_hashes(shifted, 64, 7)).all()
    assert (block_hashes(whole[::2], 64, 7) == block_hashes(whole[::2].copy(), 64, 7)).all()


def test_models_and_salts_share_nothing() -> None:
    seeds = [
        prompt_seed(*names) for names in (("a",), ("b",), ("a", "b"), ("ab",), ("", "ab"), ("\ud800", "é"))
    ]
    assert len(set(seeds)) == len(seeds)
    ids = np.arange(640, dtype=np.uint32)
    hashes = np.concatenate([block_hashes(ids, 64, seed) for seed in seeds])
    assert len(np.unique(hashes)) == len(hashes)


def test_hashes_are_the_same_in_every_process() -> None:
    program = (
        "import numpy as np; from endpoint_picker.kvindex.hashing import *; "
        "print(block_hashes(np.arange(200, dtype=np.uint32), 64, prompt_seed('m', 's')).tolist())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    here = block_hashes(np.arange(200, dtype=np.uint32), 64, prompt_seed("m", "s"))
    assert told.strip() == str(here.tolist())
