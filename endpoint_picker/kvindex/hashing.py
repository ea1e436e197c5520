"""Names for the blocks of a prompt, such that equal names mean equal prompts up to there.

An engine can reuse the KV cache of a block only when everything before it is the same too, so the hash
of a block stands for the whole prompt up to its end. The hashes never leave the process: they need not
match any engine's, only be cheap and spread well. Everything is computed by whole-array operations; a
prompt of 400 KB costs about 100 µs.
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

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd: its multiples spread evenly over the 64-bit numbers."""
_PARTIAL: Final = 0xD6E8FEB86659FD93
"""Odd factor that turns the length of a partial block into a mark on its content."""
_MASK: Final = (1 << 64) - 1
_COPIED: Final = 64
"""Most blocks of a prompt that is copied to pad its end."""


def prompt_seed(model: str, cache_salt: str = "") -> int:
    """Where the chain of a prompt starts, 64 bits: equal prompts of two models share nothing."""
    name, salt = model.encode("utf-8", "replace"), cache_salt.encode("utf-8", "replace")
    # The length keeps ("ab", "c") apart from ("a", "bc").
    digest = hashlib.blake2b(b"%d:" % len(name) + name + salt, digest_size=8).digest()
    return int.from_bytes(digest, "little")


def block_hashes(tokens: Tokens, block_size: int, seed: int) -> Hashes:
    """Hash each block of a prompt together with all before it, shape (ceil(n / block_size),).

    The last block counts even where it is not full; its hash differs from that of any full block.
    `seed` is 64 bits (see `prompt_seed`).
    """
    contents = _all_contents(np.ascontiguousarray(tokens, np.uint32), block_size)
    # The place of a block is mixed in before the sum, so that two blocks cannot trade places.
    contents += np.arange(1, len(contents) + 1, dtype=np.uint64) * _GOLDEN
    chain = np.cumsum(_scramble(contents), dtype=np.uint64)
    chain += np.uint64(seed & _MASK)
    return _scramble(chain)


def _all_contents(tokens: Tokens, block_size: int) -> _Words:
    """One number for the tokens of each block; a last one that is not full is marked with its length."""
    full, rest = divmod(len(tokens), block_size)
    if not rest:
        return _contents(tokens.reshape(full, block_size))
    # A long prompt is not copied for the sake of its last block, a short one is cheaper to copy whole.
    begin = full * block_size if full > _COPIED else 0
    padded = np.zeros((full + 1) * block_size - begin, np.uint32)
    padded[: len(tokens) - begin] = tokens[begin:]
    contents = _contents(padded.reshape(-1, block_size))
    contents[-1:] += np.uint64(rest * _PARTIAL & _MASK)
    if not begin:
        return contents
    return np.concatenate([_contents(tokens[:begin].reshape(full, block_size)), contents])


def _contents(rows: npt.NDArray[np.uint32]) -> _Words:
    """One number for the tokens of each block: (n, block_size) → (n,).

    Two multilinear sums modulo 2^64, over the words and over their reversed bytes. A difference in the
    upper bits of a word reaches only the upper bits of such a sum, hence the second one: whatever byte
    differs is a low one in one of the two, and with the second one reversed, upper bits meet lower ones.
    """
    words = _words(rows)
    forward, backward = _multipliers(words.shape[1])
    first: _Words = np.einsum("ij,j->i", words, forward)
    second: _Words = np.einsum("ij,j->i", words.byteswap(), backward)
    mixed: _Words = first + second.byteswap()
    return mixed


def _words(rows: npt.NDArray[np.uint32]) -> _Words:
    """Pairs of tokens as 64-bit words, without a copy where the block size is even."""
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    return rows.view(np.uint64)


@lru_cache(maxsize=8)
def _multipliers(width: int) -> tuple[_Words, _Words]:
    """Two rows of fixed odd factors, one for each word of a block."""
    numbers = _scramble(np.arange(1, 2 * width + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)
    return numbers[:width], numbers[width:]


def _scramble(numbers: _Words) -> _Words:
    """Spread each number over all 64 bits, one to one (the finaliser of splitmix64)."""
    numbers = numbers ^ (numbers >> np.uint64(30))
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(27)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    return numbers
