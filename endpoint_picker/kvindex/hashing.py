"""Names for the blocks of a prompt, such that equal names mean equal prompts up to there.

An engine can reuse the KV cache of a block only when everything before it is the same too, so the hash
of a block stands for the whole prompt up to its end. The hashes never leave the process: they need not
match any engine's, only be cheap and spread well. Everything is computed by whole-array operations, and
by few of them: of a prompt of 2 KB their number is the price, of one of 400 KB the passes over it.
"""

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from endpoint_picker.core.attributes import Tokens

Hashes = npt.NDArray[np.uint64]
"""One hash for each block of a prompt, shape (n,)."""

_Words = npt.NDArray[np.uint64]

_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, odd: its multiples spread evenly over the 64-bit numbers."""
_MASK: Final = (1 << 64) - 1
_ONE: Final = np.array(1, np.uint64)
_LONGEST_NAME: Final = 256
"""Characters."""


def prompt_seed(model: str, cache_salt: str = "") -> int:
    """Where the chain of a prompt starts, 64 bits: equal prompts of two models share nothing."""
    # A name may be as long as a body; such a one is not remembered.
    usual = len(model) + len(cache_salt) <= _LONGEST_NAME
    return _remembered_seed(model, cache_salt) if usual else _seed(model, cache_salt)


def _seed(model: str, cache_salt: str) -> int:
    name, salt = model.encode("utf-8", "replace"), cache_salt.encode("utf-8", "replace")
    # The length keeps ("ab", "c") apart from ("a", "bc").
    digest = hashlib.blake2b(b"%d:" % len(name) + name + salt, digest_size=8).digest()
    return int.from_bytes(digest, "little")


_remembered_seed = lru_cache(maxsize=256)(_seed)


def block_hashes(tokens: Tokens, block_size: int, seed: int) -> Hashes:
    """A hash for each block of `block_size` tokens, shape (ceil(n / block_size),).

    The last block counts even where it is not full; its hash differs from that of any full block.
    `seed` is 64 bits (see `prompt_seed`).

    A multilinear hash modulo 2^64: each place in a block has an odd factor, each block of a prompt
    another one, and the hash of a block is the sum up to there. Two blocks whose tokens differ in any
    of the lower bits share a hash in one of 2^64 cases; in the upper byte of each token only, 2^40.
    """
    blocks = -(-len(tokens) // block_size)
    words = np.zeros((blocks, block_size), np.uint64)
    # One more than each token, so that a token of zero is not the same as none.
    np.add(tokens, _ONE, out=words.reshape(-1)[: len(tokens)])
    contents: _Words = np.vecdot(words, _factors(block_size, 0))
    contents *= _factors(1 << blocks.bit_length(), 1)[:blocks]
    chain: Hashes = contents.cumsum()
    chain += np.array(seed & _MASK, np.uint64)
    return chain


@lru_cache(maxsize=32)
def _factors(count: int, row: int) -> _Words:
    """Fixed odd factors without a pattern, shape (count,): the finaliser of splitmix64 over a count."""
    numbers = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(row)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31)) | np.uint64(1)
