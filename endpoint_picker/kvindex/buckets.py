"""A hash set of 64-bit keys in one numpy array, searched and changed for many keys at once, or for a few.

Python's own sets cost some 60 bytes a key and a bytecode round for each. Here the array is cut into
buckets of eight lanes, one cache line each: a search compares whole buckets, and goes on to the next
bucket only where one has been full. Whoever uses it keeps values in arrays of its own, under the number
of the lane (the slot), and decides the home bucket of a key.

What is done to many keys is a dozen whole-array operations, which cost as much for one key as for fifty;
a few keys are looked at one after the other, in plain Python. Both leave the same kind of set behind.
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
FIRST_KEY: Final = 1
"""The number below it marks a free lane."""
_FREE: Final = 0
_ONE: Final = np.uint64(1)


class Buckets:
    """Keys in buckets; a search that leaves the last bucket of a span goes on in the span's first."""

    __slots__ = ("_lanes", "_passed", "_passes", "_span", "_uses", "keys", "used")

    def __init__(self, buckets: int, *, span: int) -> None:
        self.keys: Keys = np.zeros(buckets * WIDTH, np.uint64)
        """The key in each slot; 0 in a free one."""
        self.used: npt.NDArray[np.int64] = np.zeros(-(-buckets // span), np.int64)
        """Slots of each span that searches have to go past: keys, and what is free in passed buckets."""
        self._passed: Mask = np.zeros(buckets, np.bool_)
        """Which buckets have been full when a key came that found its place further on."""
        self._span = span
        self._view()

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.used.nbytes + self._passed.nbytes

    def extend(self, spans: int) -> None:
        """Add empty spans at the end."""
        for view in (self._lanes, self._passes, self._uses):
            view.release()
        # No view is left, so the memory may move; for a large array the system remaps its pages instead
        # of copying them.
        buckets = len(self._passed) + spans * self._span
        self.keys.resize(buckets * WIDTH, refcheck=False)
        self._passed.resize(buckets, refcheck=False)
        self.used.resize(len(self.used) + spans, refcheck=False)
        self._view()

    def clear(self, span: int) -> None:
        """Empty a whole span."""
        begin, end = span * self._span, (span + 1) * self._span
        self.keys[begin * WIDTH : end * WIDTH] = _FREE
        self._passed[begin:end] = False
        self.used[span] = 0

    # === a few keys, one after the other ===

    def find_few(self, keys: list[int], homes: list[int]) -> list[int]:
        """The slot of each key."""
        view, passed, slots = self._lanes, self._passes, []
        for key, bucket in zip(keys, homes, strict=True):
            slot = bucket * WIDTH
            lanes = view[slot : slot + WIDTH].tolist()
            if key in lanes:
                slot += lanes.index(key)
            elif passed[bucket]:
                slot = self._search(key, bucket)[0]
            else:
                slot = ABSENT
            slots.append(slot)
        return slots

    def put_few(self, keys: list[int], homes: list[int]) -> list[int]:
        """The slot of each key; those that are absent are taken in.

        A key for which its whole span has no room gets `ABSENT`.
        """
        view, passed, uses, span, slots = self._lanes, self._passes, self._uses, self._span, []
        for key, bucket in zip(keys, homes, strict=True):
            slot = bucket * WIDTH
            lanes = view[slot : slot + WIDTH].tolist()
            if key in lanes:
                slot += lanes.index(key)
            elif _FREE in lanes and not passed[bucket]:
                slot += lanes.index(_FREE)
                view[slot] = key
                uses[bucket // span] += 1
            else:
                slot = self._put_further(key, bucket)
            slots.append(slot)
        return slots

    def release_few(self, slots: list[int]) -> list[int]:
        """Free these lanes, and say whose they were."""
        view, passed, uses, room, keys = self._lanes, self._passes, self._uses, self._span * WIDTH, []
        for slot in slots:
            keys.append(view[slot])
            view[slot] = _FREE
            if not passed[slot // WIDTH]:
                uses[slot // room] -= 1
        return keys

    def _put_further(self, key: int, bucket: int) -> int:
        """The slot of a key whose home is full, or has been."""
        slot, free = self._search(key, bucket, onward=True)
        if slot != ABSENT or free == ABSENT:
            return slot
        self._lanes[free] = key
        if not self._passes[free // WIDTH]:
            self._uses[bucket // self._span] += 1
        return free

    def _search(self, key: int, bucket: int, *, onward: bool = False) -> tuple[int, int]:
        """The slot of a key, and the first free one on the way there.

        Onward: until there is a free one, past buckets that are full.
        """
        free = ABSENT
        for _ in range(self._span):
            slot = bucket * WIDTH
            lanes = self._lanes[slot : slot + WIDTH].tolist()
            if key in lanes:
                return slot + lanes.index(key), free
            if free == ABSENT and _FREE in lanes:
                free = slot + lanes.index(_FREE)
            if not self._passes[bucket]:
                if free != ABSENT or not onward:
                    break
                self._passes[bucket] = True
            bucket = bucket + 1 if (bucket + 1) % self._span else bucket + 1 - self._span
        return ABSENT, free

    # === many keys ===

    def find(self, keys: Keys, homes: Homes) -> Slots:
        """The slot of each key."""
        slots, onward = self._look(keys, homes)
        pending: Slots = onward
        for _ in range(self._span):
            if not len(pending):
                break
            keys, homes = keys[onward], self._next(homes[onward])
            slots[pending], onward = self._look(keys, homes)
            pending = pending[onward]
        return slots

    def claim(self, keys: Keys, homes: Homes) -> Slots:
        """Take in keys that are absent and distinct: their slots.

        A key for which its whole span has no room gets `ABSENT`.
        """
        slots = np.full(len(keys), ABSENT, np.int64)
        pending = np.arange(len(keys))
        # In each round one key wins in each bucket that has room, and the keys of a full one move on.
        for _ in range(self._span * (WIDTH + 1)):
            if not len(pending):
                break
            free = _marks(self._of(homes) == _FREE)
            room = free != 0
            takers, aims = pending[room], (homes * WIDTH + _first(free))[room]
            # Several keys may want one lane: all write, the last one stays, the others try again.
            self.keys[aims] = keys[takers]
            won = self.keys[aims] == keys[takers]
            slots[takers[won]] = aims[won]
            self._count(aims[won], 1)
            self._passed[homes[~room]] = True
            lost = room.copy()
            lost[room] = ~won
            pending = np.concatenate([pending[lost], pending[~room]])
            homes = np.concatenate([homes[lost], self._next(homes[~room])])
        return slots

    def release(self, slots: Slots) -> None:
        """Free these lanes."""
        self.keys[slots] = _FREE
        self._count(slots, -1)

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
        self.keys[slots[order[fits]]] = keys[order[fits]]
        self._count(slots[order[fits]], 1)
        slots[order[~fits]] = self.claim(keys[order[~fits]], homes[~fits])
        return slots

    def _view(self) -> None:
        # A view answers one number in half the time that an array takes.
        self._lanes, self._passes, self._uses = self.keys.data, self._passed.data, self.used.data

    def _of(self, homes: Homes) -> Keys:
        """The lanes of these buckets, shape (n, WIDTH)."""
        window: Keys = self.keys.reshape(-1, WIDTH).take(homes, axis=0)
        return window

    def _look(self, keys: Keys, homes: Homes) -> tuple[Slots, Slots]:
        """The slots of those keys that are in these very buckets, and which keys may be further on."""
        here = _marks(self._of(homes) == keys[:, None])
        slots = homes * WIDTH + _first(here)
        absent = here == 0
        slots[absent] = ABSENT
        absent &= self._passed.take(homes)
        return slots, absent.nonzero()[0]

    def _count(self, slots: Slots, change: int) -> None:
        """These slots were taken, or freed: those in passed buckets count before and after."""
        buckets = slots // WIDTH
        spans = buckets[~self._passed.take(buckets)] // self._span
        self.used += change * np.bincount(spans, minlength=len(self.used))

    def _next(self, homes: Homes) -> Homes:
        """The bucket after each, within its span."""
        begin = homes - homes % self._span
        after: Homes = begin + (homes + 1 - begin) % self._span
        return after


def _marks(flags: Mask) -> Keys:
    """Eight flags as one number, (n, WIDTH) → (n,): byte i is 1 where lane i is set."""
    return flags.view(np.uint64).reshape(-1)


def _first(marks: Keys) -> Slots:
    """The lowest lane that is set (WIDTH where none is)."""
    lowest = marks & (~marks + _ONE)
    return (np.bitwise_count(lowest - _ONE) >> 3).astype(np.int64)
