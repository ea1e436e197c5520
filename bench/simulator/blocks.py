"""The KV cache of one replica, in blocks, because what it still holds decides what a request costs there.

Only what influences timing is modelled: how many blocks are taken, which block contents are resident and
which of them go first. Blocks have no numbers. A block is either private (its content is shared with
nobody), held (registered under its hash and referenced by running sequences) or idle (registered,
referenced by nobody, evictable in the order of its last use).
"""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.uint32]

_MIX = 0x9E3779B97F4A7C15
"""Odd 64-bit multiplier (2^64 divided by the golden ratio); its powers spread the positions in a block."""


def seed_of(adapter: str = "", salt: str = "") -> int:
    """The parent of a prompt's first block; other adapters and salts start other chains."""
    return zlib.crc32(f"{adapter}\0{salt}".encode())


def chain(tokens: Tokens, block_size: int, seed: int = 0) -> list[int]:
    """Hashes of the full blocks of `tokens`; each depends on everything before it.

    Stable over runs and processes: integers only, which Python hashes without a random key.
    """
    count = len(tokens) // block_size
    grid = tokens[: count * block_size].reshape(count, block_size).astype(np.uint64)
    hashes = []
    for digest in (grid @ _powers(block_size)).tolist():
        seed = hash((seed, digest))
        hashes.append(seed)
    return hashes


@lru_cache
def _powers(block_size: int) -> npt.NDArray[np.uint64]:
    return np.array([pow(_MIX, i + 1, 1 << 64) for i in range(block_size)], dtype=np.uint64)


class Change(Enum):
    """What happens to a block's content."""

    STORED = "stored"
    REMOVED = "removed"
    CLEARED = "cleared"
    """All content is gone."""


class BlockCache:
    """A fixed number of blocks with prefix caching and LRU eviction."""

    __slots__ = ("_held", "_idle", "_private", "capacity", "evictions", "watcher")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evictions = 0
        self.watcher: Callable[[Change, int], None] | None = None
        """Is told what becomes resident under which hash, and what no longer is (0 where it is all)."""
        self._held: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._private = 0

    @property
    def free(self) -> int:
        """Blocks that can be had at once, resident idle ones included."""
        return self.capacity - len(self._held) - self._private

    @property
    def idle(self) -> int:
        """Blocks that nobody uses and whose content is still there."""
        return len(self._idle)

    @property
    def usage(self) -> float:
        """The taken share of all blocks, 0..1."""
        return (len(self._held) + self._private) / self.capacity

    def match(self, hashes: Iterable[int]) -> int:
        """How many leading hashes are resident."""
        held, idle, count = self._held, self._idle, 0
        for key in hashes:
            if key not in held and key not in idle:
                break
            count += 1
        return count

    def held(self, hashes: Iterable[int]) -> int:
        """How many of these resident hashes are referenced: taking those costs no free block."""
        return sum(map(self._held.__contains__, hashes))

    def take(self, hashes: Iterable[int]) -> None:
        """Reference resident blocks."""
        held, idle = self._held, self._idle
        for key in hashes:
            if key in held:
                held[key] += 1
            else:
                del idle[key]
                held[key] = 1

    def reserve(self, count: int) -> bool:
        """Take `count` private blocks, evicting the longest unused content; all or nothing."""
        free = self.free - count
        if free < 0:
            return False
        self._private += count
        while len(self._idle) > free:
            key, _ = self._idle.popitem(last=False)
            self.evictions += 1
            if self.watcher is not None:
                self.watcher(Change.REMOVED, key)
        return True

    def publish(self, key: int) -> bool:
        """Register a full private block under its hash; False when another block has that content already."""
        if key in self._held or key in self._idle:
            return False
        self._held[key] = 1
        self._private -= 1
        if self.watcher is not None:
            self.watcher(Change.STORED, key)
        return True

    def release(self, hashes: list[int], private: int) -> None:
        """Give back one sequence's blocks: `hashes` in prompt order, and its private ones.

        The tail becomes idle first, hence is evicted first: a prefix without its tail is still of use.
        """
        held, idle = self._held, self._idle
        self._private -= private
        for key in reversed(hashes):
            count = held[key] - 1
            if count:
                held[key] = count
            else:
                del held[key]
                idle[key] = None

    def clear(self) -> bool:
        """Forget all content; refused (False) while any block is in use."""
        if self._held or self._private:
            return False
        self._idle.clear()
        if self.watcher is not None:
            self.watcher(Change.CLEARED, 0)
        return True
