"""The blocks that one endpoint is thought to hold, from the least to the most recently used.

An engine frees the block that was used longest ago when its cache is full. To guess what it still holds
we do the same, with the engine's capacity, for each endpoint. Each block carries the number of its last
use; who is oldest is found for many blocks ahead in one partial sort, and a block that was used since
then is told by its changed number.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from endpoint_picker.kvindex.buckets import ABSENT, WIDTH, Buckets, Homes, Keys, Slots

Uses = npt.NDArray[np.uint32]
"""Numbers of last uses, shape (n,); 0 in a free slot."""

_LAST_USE: Final = (1 << 32) - 1
_LOAD: Final = 0.55
"""Share of the slots that blocks take after a rebuild: room against the length of searches."""
_CROWDED: Final = 0.7
"""Share of the slots in use from which the next blocks cause a rebuild."""
_AHEAD: Final = 4
"""The line of the oldest holds one in so many blocks."""
_SHORTEST_LINE: Final = 64
_NONE: Final[Keys] = np.empty(0, np.uint64)


class RecentBlocks:
    """A set of block keys that forgets the least recently used ones."""

    __slots__ = (
        "_at",
        "_buckets",
        "_line",
        "_line_uses",
        "_now",
        "_settled",
        "_uses",
        "_view",
        "count",
    )

    def __init__(self) -> None:
        self.count = 0
        """Blocks held."""
        self._now = 0
        """Number of the latest use."""
        self._settled = 0
        """Number of the latest use before the keys at hand."""
        self._line: npt.NDArray[np.int32]
        """Slots of the oldest blocks when the line was made, the least recently used first."""
        self._line_uses: Uses
        """The last use of each of them at that time."""
        self._at: int
        """Place of the next one in the line."""
        self._empty(1)

    @property
    def nbytes(self) -> int:
        return self._buckets.nbytes + self._uses.nbytes + self._line.nbytes + self._line_uses.nbytes

    def keys(self) -> Keys:
        """All blocks held, in no order."""
        return self._buckets.keys[self._live()]

    def use(self, keys: Keys, capacity: int) -> tuple[Keys, Keys]:
        """Make these blocks the most recently used, the first most of all: (keys that came, that went).

        At most `capacity` blocks are held afterwards; of more keys than that the first ones stay. The
        keys are distinct.
        """
        keys = keys[:capacity]
        slots = self._buckets.find(keys, self._homes(keys))
        self._count_on(len(keys))
        uses = np.arange(self._now, self._settled, -1, dtype=np.uint32)
        known = slots != ABSENT
        self._uses[slots[known]] = uses[known]
        unknown = ~known
        came = keys[unknown]
        went = self._evict(self.count + len(came) - capacity)
        if len(came):
            self._admit(came, uses[unknown], capacity)
        return came, went

    def use_few(self, keys: list[int], capacity: int) -> tuple[list[int], list[int]]:
        """The same for a few keys, one after the other."""
        keys = keys[:capacity]
        self._make_room(len(keys), capacity)
        self._count_on(len(keys))
        buckets, view, use = len(self._uses) // WIDTH, self._view, self._now
        came = []
        homes = [(key >> 32) * buckets >> 32 for key in keys]
        for key, slot in zip(keys, self._buckets.put_few(keys, homes), strict=True):
            if not view[slot]:
                came.append(key)
            view[slot] = use
            use -= 1
        self.count += len(came)
        return came, self._evict_few(self.count - capacity)

    def forget(self, keys: Keys) -> Keys:
        """Hold these blocks no longer; answers those that were held. The keys are distinct."""
        slots = self._buckets.find(keys, self._homes(keys))
        held = slots != ABSENT
        slots = slots[held]
        self._buckets.release(slots)
        self._uses[slots] = 0
        self.count -= len(slots)
        gone: Keys = keys[held]
        return gone

    def _homes(self, keys: Keys) -> Homes:
        # The upper half of a key, scaled to the number of buckets: no division, and any number will do.
        buckets = np.uint64(len(self._uses) // WIDTH)
        return ((keys >> np.uint64(32)) * buckets >> np.uint64(32)).astype(np.int64)

    def _live(self) -> Slots:
        return self._uses.nonzero()[0]

    def _count_on(self, uses: int) -> None:
        """Set so many numbers aside, those above `_settled`."""
        if self._now + uses > _LAST_USE:
            live = self._live()
            order = live[np.argsort(self._uses[live])]
            self._uses[order] = np.arange(1, len(order) + 1)
            self._now = len(order)
            self._forget_line()
        self._settled = self._now
        self._now += uses

    def _admit(self, keys: Keys, uses: Uses, capacity: int) -> None:
        self._make_room(len(keys), capacity)
        self._uses[self._buckets.claim(keys, self._homes(keys))] = uses
        self.count += len(keys)

    def _make_room(self, more: int, capacity: int) -> None:
        """Move everything to a new array, if so many blocks more would crowd the old one."""
        if int(self._buckets.used[0]) + more <= _CROWDED * len(self._uses):
            return
        live = self._live()
        keys, uses = self._buckets.keys[live], self._uses[live]
        room = self.count + more
        self._empty(int(max(room, min(2 * room, capacity)) / (_LOAD * WIDTH)) + 1)
        self._uses[self._buckets.fill(keys, self._homes(keys))] = uses

    def _empty(self, buckets: int) -> None:
        """Start with an array of so many empty buckets."""
        self._buckets = Buckets(buckets, span=buckets)
        self._uses: Uses = np.zeros(buckets * WIDTH, np.uint32)
        """Last use of the block in each slot."""
        self._view = self._uses.data
        self._forget_line()

    def _evict(self, excess: int) -> Keys:
        """Forget so many of the least recently used blocks, and say which."""
        gone = [_NONE]
        while excess > 0:
            slots = self._oldest(excess)
            gone.append(self._buckets.keys[slots])
            self._buckets.release(slots)
            self._uses[slots] = 0
            self.count -= len(slots)
            excess -= len(slots)
        return np.concatenate(gone) if len(gone) > 1 else gone[0]

    def _oldest(self, most: int) -> Slots:
        """Slots of the next least recently used blocks in line, at most so many; maybe none."""
        if self._at >= len(self._line):
            self._line_up(most)
        ahead = slice(self._at, self._at + max(2 * most, _SHORTEST_LINE))
        slots = self._line[ahead]
        unused = (self._uses[slots] == self._line_uses[ahead]).nonzero()[0][:most]
        self._at += int(unused[-1]) + 1 if len(unused) == most else len(slots)
        oldest: Slots = slots[unused].astype(np.int64)
        return oldest

    def _evict_few(self, excess: int) -> list[int]:
        """The same for a few blocks, one after the other."""
        view = self._view
        slots: list[int] = []
        while len(slots) < excess:
            if self._at >= len(self._line):
                self._line_up(excess)
            ahead = slice(self._at, self._at + excess - len(slots))
            self._at = ahead.stop
            for slot, use in zip(self._line[ahead].tolist(), self._line_uses[ahead].tolist(), strict=True):
                if view[slot] == use:
                    view[slot] = 0
                    slots.append(slot)
        self.count -= len(slots)
        return self._buckets.release_few(slots)

    def _line_up(self, least: int) -> None:
        """Put the oldest blocks in line, at least so many."""
        # Not those of the keys at hand: some of these that are still to come are older than others.
        live = ((self._uses > 0) & (self._uses <= self._settled)).nonzero()[0]
        uses = self._uses[live]
        length = max(least, len(live) // _AHEAD, _SHORTEST_LINE)
        if length < len(live):
            first = np.argpartition(uses, length - 1)[:length]
            live, uses = live[first], uses[first]
        order = np.argsort(uses)
        self._line, self._line_uses, self._at = live[order].astype(np.int32), uses[order], 0

    def _forget_line(self) -> None:
        """Slots have moved, or uses have other numbers."""
        self._line, self._line_uses, self._at = np.empty(0, np.int32), np.empty(0, np.uint32), 0
