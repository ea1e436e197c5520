"""An index of which endpoint holds which blocks, guessed from what was sent where.

The engines are not asked: a prompt that went to an endpoint is in its cache until newer ones have pushed
it out. Two structures answer the two questions: a map from block to holders, for the search along a
prompt over all endpoints at once, and for each endpoint its blocks in order of use, for what it forgets.
All work is done on whole prompts by numpy; a search costs about the same for ten endpoints and thousands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from endpoint_picker.core.endpoints import Rows
from endpoint_picker.kvindex.blockmap import BlockMap
from endpoint_picker.kvindex.buckets import FIRST_KEY, Keys
from endpoint_picker.kvindex.hashing import Hashes
from endpoint_picker.kvindex.holders import NOBODY, Bitmasks, HolderSet, bits_of
from endpoint_picker.kvindex.recency import RecentBlocks

_FEW: Final = 96
"""Up to so many blocks one after the other cost less than the fixed price of whole-array operations."""
_STEPS: Final = (64, 512)
"""Blocks of the first looks at a prompt: most prompts are new, and nobody holds their first block."""
_DROP_BATCH: Final = 4096
_EVERYBODY: Final = np.uint64((1 << 64) - 1)
_FIRST_KEY: Final = np.array(FIRST_KEY, np.uint64)
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples spread evenly."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """How large the index is."""

    blocks: int
    """Different blocks."""
    held: int
    """Blocks over all endpoints: a block that ten of them hold counts ten times."""
    bytes: int
    """Memory of all arrays."""
    rows: Mapping[int, int]
    """Blocks that each table row holds."""


class ApproximateIndex:
    """Block hash → the table rows that hold it; forgets for each row its least recently used blocks."""

    def __init__(self, *, secret: int = 0) -> None:
        # Whoever does not know the factor cannot make prompts whose blocks all fall into one page.
        self._factor = np.array((secret << 1 ^ _GOLDEN) % (1 << 64), np.uint64)
        self._latest: tuple[Hashes, Keys] = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        """The hashes that came last, and their keys."""
        self._map = BlockMap()
        self._rows: dict[int, RecentBlocks] = {}
        self.held = 0
        """Blocks over all endpoints: a block that ten of them hold counts ten times."""

    def match(self, hashes: Hashes, *, rows: int) -> Rows:
        """How many leading blocks each table row holds without a gap, shape (rows,)."""
        counts = np.zeros(max(rows, self._map.words * 64), np.int64)
        if not len(hashes):
            return counts[:rows]
        if len(hashes) <= _FEW:
            return self._match_few(self._keys(hashes).tolist(), counts)[:rows]
        keys, done = self._keys(hashes), 0
        alive: Bitmasks = np.full((1, self._map.words), _EVERYBODY)
        for step in (*_STEPS, len(keys)):
            sets = self._map.holders(keys[done : done + step])
            if sets[0] == NOBODY:
                break
            alive = self._follow(sets, alive, done, counts)
            done += len(sets)
            if done == len(keys) or not alive.any():
                break
        counts[bits_of(alive)[0].nonzero()[0]] = done
        return counts[:rows]

    def insert(self, row: int, hashes: Hashes, capacity: int) -> None:
        """The endpoint in `row` has just used these blocks, and has room for `capacity` blocks.

        What is over that is forgotten, least recently used first; within a prompt the end goes before
        the beginning, as engines free blocks.
        """
        if not len(hashes):
            return
        recent = self._rows.get(row)
        if recent is None:
            recent = self._rows[row] = RecentBlocks()
        before = recent.count
        if len(hashes) <= _FEW and before <= capacity + _FEW:
            self._use_few(recent, row, self._keys(hashes).tolist(), capacity)
        else:
            self._use(recent, row, self._keys(hashes), capacity)
        self.held += recent.count - before

    def forget(self, row: int, hashes: Hashes) -> None:
        """The endpoint in `row` turned out not to hold these blocks."""
        recent = self._rows.get(row)
        if recent is None or not len(hashes):
            return
        gone = recent.forget(_distinct(self._keys(hashes)))
        self._map.discard(gone, row)
        self.held -= len(gone)

    def drop(self, row: int) -> None:
        """The endpoint in `row` holds nothing any more."""
        recent = self._rows.pop(row, None)
        if recent is None:
            return
        self.held -= recent.count
        keys = recent.keys()
        for start in range(0, len(keys), _DROP_BATCH):
            self._map.discard(keys[start : start + _DROP_BATCH], row)

    def statistics(self) -> Statistics:
        nbytes = self._map.nbytes + sum(recent.nbytes for recent in self._rows.values())
        counts = {row: recent.count for row, recent in sorted(self._rows.items())}
        return Statistics(blocks=self._map.blocks, held=self.held, bytes=nbytes, rows=counts)

    def _use(self, recent: RecentBlocks, row: int, keys: Keys, capacity: int) -> None:
        came, went = recent.use(_distinct(keys), capacity)
        self._map.discard(went, row)
        self._map.add(came, row)

    def _use_few(self, recent: RecentBlocks, row: int, keys: list[int], capacity: int) -> None:
        came, went = recent.use_few(list(dict.fromkeys(keys)), capacity)
        if went:
            self._map.discard_few(went, row)
        if came:
            self._map.add_few(came, row)

    def _match_few(self, keys: list[int], counts: Rows) -> Rows:
        """The same for a few blocks, one after the other, with sets as numbers."""
        last = self._map.holders_few(keys[:1])[0]
        alive = self._map.bitmask(last)
        # Most prompts are new, and then the first block tells.
        for done, code in enumerate(self._map.holders_few(keys[1:]) if alive else (), 1):
            if code != last:
                held = alive & self._map.bitmask(code)
                _write(counts, alive ^ held, done)
                alive, last = held, code
        _write(counts, alive, len(keys))
        return counts

    def _keys(self, hashes: Hashes) -> Keys:
        # A prompt is learned right after it was looked up.
        if hashes is not self._latest[0]:
            self._latest = (hashes, np.maximum(hashes * self._factor, _FIRST_KEY))
        return self._latest[1]

    def _follow(self, sets: HolderSet, alive: Bitmasks, done: int, counts: Rows) -> Bitmasks:
        """Walk some blocks on: who of `alive`, shape (1, words), still holds all of them.

        Writes the counts of those that drop out; `done` blocks lie behind.
        """
        differs = np.ones(len(sets), np.bool_)
        np.not_equal(sets[1:], sets[:-1], out=differs[1:])
        begins = differs.nonzero()[0]
        ends = (sets[begins] == NOBODY).nonzero()[0]
        if len(ends):
            begins = begins[: int(ends[0]) + 1]
        masks = np.concatenate([alive, self._map.bitmasks(sets[begins])])
        held: Bitmasks = np.bitwise_and.accumulate(masks, axis=0)
        lost: Bitmasks = held[:-1] & ~held[1:]
        changes = (lost != 0).any(axis=1).nonzero()[0]
        runs, rows = bits_of(lost[changes]).nonzero()
        counts[rows] = done + begins[changes[runs]]
        return held[-1:]


def _write(counts: Rows, rows: int, count: int) -> None:
    """Note this count for each row of a set."""
    while rows:
        lowest = rows & -rows
        counts[lowest.bit_length() - 1] = count
        rows ^= lowest


def _distinct(keys: Keys) -> Keys:
    """Each key once, where it comes first."""
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return keys
    _, first = np.unique(keys, return_index=True)
    return keys[np.sort(first)]
