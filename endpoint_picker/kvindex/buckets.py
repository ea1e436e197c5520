"""A hash set of 64-bit keys in one numpy array, searched and changed for many keys at once.

Python's own sets cost some 60 bytes a key and a bytecode round for each. Here the array is cut into
buckets of eight lanes, one cache line each: a search compares whole buckets, and goes on to the next
bucket only where one has been full. Whoever uses it keeps values in arrays of its own, under the number
of the lane (the slot), and decides the home bucket of a key.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from endpoint_picker.core.endpoints import Mask

Keys = npt.NDArray[np.uint64]
"""Shape (n,); every key is at least `FIRST_KEY`."""
Slots = npt.NDArray[np.int64]
"""Numbers of lanes, shape (n,); `ABSENT` where there is none."""
Homes = npt.NDArray[np.int64]
"""Bucket in which the search for each key starts, shape (n,)."""

WIDTH: Final = 8
ABSENT: Final = -1
FIRST_KEY: Final = 2
"""The two numbers below it mark free lanes."""

_EMPTY: Final = np.uint64(0)
"""A free lane of a bucket that has never been full: no search goes past it."""
_LEFT: Final = np.uint64(1)
"""A free lane of a bucket that was full once: keys that found no room may lie further on."""
_ONE: Final = np.uint64(1)
_FEW: Final = 24
"""Up to so many keys one after the other cost less than the fixed price of whole-array operations."""


class Buckets:
    """Keys in buckets; a search that leaves the last bucket of a span goes on in the span's first."""

    __slots__ = ("_span", "keys")

    def __init__(self, buckets: int, *, span: int) -> None:
        self.keys = np.zeros((buckets, WIDTH), np.uint64)
        """Shape (buckets, WIDTH)."""
        self._span = span

    def extend(self, buckets: int) -> None:
        """Add empty buckets at the end."""
        # No view of the array outlives a method, so the memory may move; for a large array the system
        # remaps its pages instead of copying them.
        self.keys.resize((len(self.keys) + buckets, WIDTH), refcheck=False)

    def find(self, keys: Keys, homes: Homes) -> Slots:
        """The slot of each key."""
        if len(keys) <= _FEW:
            each = zip(keys.tolist(), homes.tolist(), strict=True)
            return np.array([self._find_one(key, home) for key, home in each], np.int64)
        slots, onward = self._look(keys, homes)
        pending: Slots = onward
        for _ in range(self._span):
            if not len(pending):
                break
            keys, homes = keys[onward], self._next(homes[onward])
            slots[pending], onward = self._look(keys, homes)
            pending = pending[onward]
        return slots

    def _look(self, keys: Keys, homes: Homes) -> tuple[Slots, Slots]:
        """The slots of those keys that are in these very buckets, and which keys may be further on."""
        window = self.keys.take(homes, axis=0)
        here = _lanes(window == keys[:, None])
        slots = homes * WIDTH + _first(here)
        absent = here == 0
        slots[absent] = ABSENT
        absent &= _lanes(window == _EMPTY) == 0
        return slots, absent.nonzero()[0]

    def claim(self, keys: Keys, homes: Homes) -> tuple[Slots, Mask]:
        """Take in keys that are absent and distinct: their slots, and which of those were `_EMPTY`.

        A key for which its whole span has no room gets `ABSENT`.
        """
        if len(keys) <= _FEW:
            each = zip(keys.tolist(), homes.tolist(), strict=True)
            claims = [self._claim_one(key, home) for key, home in each]
            return np.array([s for s, _ in claims], np.int64), np.array([e for _, e in claims], np.bool_)
        return self._claim_many(keys, homes)

    def _claim_many(self, keys: Keys, homes: Homes) -> tuple[Slots, Mask]:
        slots = np.full(len(keys), ABSENT, np.int64)
        empty = np.zeros(len(keys), np.bool_)
        flat = self.keys.reshape(-1)
        pending = np.arange(len(keys))
        # In each round one key wins in each bucket that has room, and the keys of a full one move on.
        for _ in range(self._span * (WIDTH + 1)):
            free = _lanes(self.keys.take(homes, axis=0) <= _LEFT)
            room = free != 0
            wanted = homes * WIDTH + _first(free)
            takers, aims = pending[room], wanted[room]
            was_empty = flat[aims] == _EMPTY
            # Several keys may want one lane: all write, the last one stays, the others try again.
            flat[aims] = keys[takers]
            won = flat[aims] == keys[takers]
            slots[takers[won]], empty[takers[won]] = aims[won], was_empty[won]
            if len(takers) == len(pending) and won.all():
                break
            lost = room.copy()
            lost[room] = ~won
            pending = np.concatenate([pending[lost], pending[~room]])
            homes = np.concatenate([homes[lost], self._next(homes[~room])])
        return slots, empty

    def release(self, slots: Slots) -> Mask:
        """Free these lanes; True for those that are as good as never used."""
        # Where the bucket has an empty lane, no search has ever gone past it.
        empty: Mask = _lanes(self.keys.take(slots // WIDTH, axis=0) == _EMPTY) != 0
        self.keys.reshape(-1)[slots] = np.where(empty, _EMPTY, _LEFT)
        return empty

    def fill(self, keys: Keys, homes: Homes) -> Slots:
        """Take in many distinct keys at once; all buckets of their spans must be empty."""
        order = np.argsort(homes.astype(np.int32), kind="stable")
        homes = homes[order]
        place = np.arange(len(keys))
        begins = np.ones(len(keys), np.bool_)
        begins[1:] = homes[1:] != homes[:-1]
        rank = place - np.maximum.accumulate(np.where(begins, place, 0))
        fits = rank < WIDTH
        slots = np.empty(len(keys), np.int64)
        slots[order[fits]] = homes[fits] * WIDTH + rank[fits]
        self.keys.reshape(-1)[slots[order[fits]]] = keys[order[fits]]
        slots[order[~fits]], _ = self.claim(keys[order[~fits]], homes[~fits])
        return slots

    def _find_one(self, key: int, bucket: int) -> int:
        for _ in range(self._span):
            lanes: list[int] = self.keys[bucket].tolist()
            if key in lanes:
                return bucket * WIDTH + lanes.index(key)
            if 0 in lanes:
                break
            bucket = self._after(bucket)
        return ABSENT

    def _claim_one(self, key: int, bucket: int) -> tuple[int, bool]:
        for _ in range(self._span):
            lanes: list[int] = self.keys[bucket].tolist()
            free = min(lanes)
            if free < FIRST_KEY:
                lane = lanes.index(free)
                self.keys[bucket, lane] = key
                return bucket * WIDTH + lane, free == 0
            bucket = self._after(bucket)
        return ABSENT, False

    def _after(self, bucket: int) -> int:
        begin = bucket - bucket % self._span
        return begin + (bucket + 1 - begin) % self._span

    def _next(self, homes: Homes) -> Homes:
        """The bucket after each, within its span."""
        begin = homes - homes % self._span
        after: Homes = begin + (homes + 1 - begin) % self._span
        return after


def _lanes(flags: npt.NDArray[np.bool_]) -> Keys:
    """Eight flags as one number, (n, WIDTH) → (n,): byte i is 1 where lane i is set."""
    return flags.view(np.uint64).reshape(-1)


def _first(lanes: Keys) -> Slots:
    """The lowest lane that is set (WIDTH where none is)."""
    lowest = lanes & (~lanes + _ONE)
    return (np.bitwise_count(lowest - _ONE) >> 3).astype(np.int64)
