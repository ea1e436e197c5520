"""From the key of a block to the set of its holders, for millions of blocks, without long pauses.

One big hash table would stop all traffic for a second whenever it grows. This one is cut into pages of
4096 slots that split one at a time (extendible hashing: the top bits of a key choose the page through a
directory), so that the longest pause is that of a few pages.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from endpoint_picker.kvindex.buckets import ABSENT, FIRST_KEY, WIDTH, Buckets, Homes, Keys, Slots
from endpoint_picker.kvindex.holders import NOBODY, Bitmasks, HolderPool, HolderSet

_SPAN: Final = 512
"""Buckets a page."""
_PAGE: Final = _SPAN * WIDTH
"""Slots a page."""
_FULL: Final = _PAGE * 3 // 4
"""Most slots in use before a page is split or cleaned: fuller ones make for long searches."""
_SPREAD: Final = _PAGE // 4
"""How much earlier some pages are split than others: all of them fill at the same speed, and would be
due at the same time."""
_UNCHECKED: Final = 256
"""So many blocks may come, even if into one page, before the pages are looked at."""
_DEEPEST: Final = 20
"""Most bits of a key that choose a page: only keys that were made to collide need more. Such a page is
filled to the last slot, and what does not fit is left out."""
_BUCKET_SHIFT: Final = 35
"""The bits below those choose the bucket: upper ones, which nobody controls who does not know the factor
that the index multiplies hashes by."""
_BUCKET_MASK: Final = _SPAN - 1


class BlockMap:
    """Key of a block → table rows of the endpoints that hold it."""

    __slots__ = (
        "_buckets",
        "_depth",
        "_depths",
        "_directory",
        "_holders",
        "_limits",
        "_pages",
        "_pool",
        "_unchecked",
        "_view",
        "blocks",
    )

    def __init__(self) -> None:
        self.blocks = 0
        """Blocks that somebody holds."""
        self._buckets = Buckets(_SPAN, span=_SPAN)
        self._holders: HolderSet = np.zeros(_PAGE, np.uint32)
        """Holders of the block in each slot; `NOBODY` in a free one."""
        self._view = self._holders.data
        self._pool = HolderPool()
        self._pages = 1
        self._unchecked = 0
        """Blocks that came since the pages were last looked at."""
        self._limits = np.full(1, _FULL)
        """For each page, how many slots in use are too many."""
        self._depths = [0]
        """How many top bits all keys of a page share."""
        self._depth = 1
        """How many top bits choose an entry of the directory."""
        self._directory: npt.NDArray[np.int32] = np.zeros(2, np.int32)

    @property
    def nbytes(self) -> int:
        arrays = self._buckets.nbytes + self._holders.nbytes + self._directory.nbytes
        return arrays + self._limits.nbytes + self._pool.nbytes

    @property
    def words(self) -> int:
        """Words of 64 rows in a bitmask."""
        return self._pool.words

    def holders(self, keys: Keys) -> HolderSet:
        """The set of each block's holders (see `bitmasks`), shape (n,)."""
        slots = self._buckets.find(keys, self._homes(keys))
        sets = self._holders[slots]
        sets[slots == ABSENT] = NOBODY
        return sets

    def bitmask(self, code: int) -> int:
        """This set as a number: bit r stands for row r."""
        return self._pool.bitmask(code)

    def bitmasks(self, sets: HolderSet) -> Bitmasks:
        """These sets, one bit for each row; valid until the next change."""
        return self._pool.bitmasks(sets)

    def add(self, keys: Keys, row: int) -> None:
        """The endpoint in `row` now holds these blocks; the keys are distinct."""
        # A page takes what its share of a batch may be before it is looked at again.
        batch = (_PAGE - _FULL) * max(1, self._pages // 2)
        for start in range(0, len(keys), batch):
            self._add(keys[start : start + batch], row)

    def discard(self, keys: Keys, row: int) -> None:
        """The endpoint in `row` no longer holds these blocks; the keys are distinct."""
        if not len(keys):
            return
        slots = self._buckets.find(keys, self._homes(keys))
        slots = slots[slots != ABSENT]
        sets = self._pool.remove(self._holders[slots], row)
        self._holders[slots] = sets
        gone = slots[sets == NOBODY]
        if len(gone):
            self._buckets.release(gone)
            self.blocks -= len(gone)

    # === a few blocks, one after the other ===

    def holders_few(self, keys: list[int]) -> list[int]:
        """The set of each block's holders (see `bitmask`)."""
        view, slots = self._view, self._buckets.find_few(keys, self._homes_few(keys))
        return [NOBODY if slot == ABSENT else view[slot] for slot in slots]

    def add_few(self, keys: list[int], row: int) -> None:
        """The endpoint in `row` now holds these blocks; the keys are distinct."""
        view, alone, new = self._view, self._pool.alone(row), 0
        for slot in self._buckets.put_few(keys, self._homes_few(keys)):
            if slot == ABSENT:
                continue
            code = view[slot]
            if code == NOBODY:
                view[slot] = alone
                new += 1
            else:
                view[slot] = self._pool.add_one(code, row)
        self.blocks += new
        self._unchecked += new
        if self._unchecked > _UNCHECKED:
            self._split_crowded()

    def discard_few(self, keys: list[int], row: int) -> None:
        """The endpoint in `row` no longer holds these blocks."""
        view, gone = self._view, []
        for slot in self._buckets.find_few(keys, self._homes_few(keys)):
            if slot != ABSENT:
                code = view[slot] = self._pool.remove_one(view[slot], row)
                if code == NOBODY:
                    gone.append(slot)
        self._buckets.release_few(gone)
        self.blocks -= len(gone)

    def _homes_few(self, keys: list[int]) -> list[int]:
        pages, shift = self._directory.data, 64 - self._depth
        return [pages[key >> shift] * _SPAN + (key >> _BUCKET_SHIFT & _BUCKET_MASK) for key in keys]

    # === pages ===

    def _homes(self, keys: Keys) -> Homes:
        pages = self._directory[keys >> np.uint64(64 - self._depth)]
        buckets = (keys >> np.uint64(_BUCKET_SHIFT)) & np.uint64(_BUCKET_MASK)
        homes: Homes = pages * np.int64(_SPAN) + buckets.astype(np.int64)
        return homes

    def _add(self, keys: Keys, row: int) -> None:
        homes = self._homes(keys)
        slots = self._buckets.find(keys, homes)
        new = (slots == ABSENT).nonzero()[0]
        if len(new):
            slots[new] = self._claim(keys[new], homes[new])
            slots = slots[slots != ABSENT]
        self._holders[slots] = self._pool.add(self._holders[slots], row)
        if len(new):
            self._split_crowded()

    def _claim(self, keys: Keys, homes: Homes) -> Slots:
        slots = self._buckets.claim(keys, homes)
        self.blocks += int(np.count_nonzero(slots != ABSENT))
        return slots

    def _split_crowded(self) -> None:
        self._unchecked = 0
        for page in (self._buckets.used > self._limits).nonzero()[0].tolist():
            self._relieve(page)

    def _relieve(self, page: int) -> None:
        """Split a page that is full of keys, or clean one that is full of left slots."""
        if self._depths[page] == _DEEPEST:
            self._limits[page] = _PAGE
            return
        keys, sets = self._empty(page)
        if len(keys) < self._limits[page] * 3 // 4:
            self._refill(keys, sets)
            return
        other = self._split(page)
        moves = (keys >> np.uint64(64 - self._depths[page])) & np.uint64(1) != 0
        for half, members in ((page, ~moves), (other, moves)):
            self._refill(keys[members], sets[members])
            if self._buckets.used[half] > self._limits[half]:
                self._relieve(half)

    def _empty(self, page: int) -> tuple[Keys, HolderSet]:
        """Take everything out of a page."""
        slots = slice(page * _PAGE, (page + 1) * _PAGE)
        window = self._buckets.keys[slots]
        live = window >= FIRST_KEY
        keys, sets = window[live], self._holders[slots][live]
        self._buckets.clear(page)
        self._holders[slots] = NOBODY
        return keys, sets

    def _refill(self, keys: Keys, sets: HolderSet) -> None:
        slots = self._buckets.fill(keys, self._homes(keys))
        self._holders[slots] = sets

    def _split(self, page: int) -> int:
        """A new page for the keys of this one whose next bit is set."""
        if self._depths[page] == self._depth:
            self._directory = np.repeat(self._directory, 2)
            self._depth += 1
        other = self._new_page()
        self._depths[page] += 1
        self._depths[other] = self._depths[page]
        for half in (page, other):
            self._limits[half] = _FULL - (half * 367 + self._depths[half] * 151) % _SPREAD
        entries = np.flatnonzero(self._directory == page)
        upper = entries >> (self._depth - self._depths[page]) & 1 == 1
        self._directory[entries[upper]] = other
        return other

    def _new_page(self) -> int:
        page = self._pages
        self._pages += 1
        if page == len(self._limits):
            more = max(1, page // 16)
            self._buckets.extend(more)
            self._view.release()
            self._holders.resize((page + more) * _PAGE, refcheck=False)
            self._view = self._holders.data
            self._limits.resize(page + more, refcheck=False)
            self._depths += [0] * more
        return page
