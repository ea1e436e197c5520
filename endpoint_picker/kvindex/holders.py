"""Sets of table rows, one 32-bit number each while they are small.

Most blocks of a fleet are held by one endpoint: the end of a conversation lives where it was served.
Such a set is written as the row itself. Only a set of two or more rows takes a bitmask from a pool, so
that memory does not grow with the number of endpoints times the number of blocks.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from endpoint_picker.core.endpoints import Rows

HolderSet = npt.NDArray[np.uint32]
"""Codes of sets, shape (n,): 0 is the empty set, up to `_POOLED` a row plus one, above a pool index."""
Bitmasks = npt.NDArray[np.uint64]
"""Bit r % 64 of word r // 64 stands for row r, shape (n, words)."""

NOBODY: Final = 0
_POOLED: Final = 1 << 31
_PLACE: Final = _POOLED - 1
_WORD: Final = 64
_ONE: Final = np.uint64(1)


class HolderPool:
    """Adds rows to sets and removes them; each set belongs to whoever was given its code."""

    __slots__ = ("_free", "_free_count", "_masks", "_room", "_used")

    def __init__(self) -> None:
        self._masks: Bitmasks = np.zeros((64, 1), np.uint64)
        self._room = _WORD
        """Rows that a mask has bits for."""
        self._used = 0
        """Masks that were ever taken."""
        self._free: npt.NDArray[np.int32] = np.empty(64, np.int32)
        self._free_count = 0

    @property
    def nbytes(self) -> int:
        return self._masks.nbytes + self._free.nbytes

    @property
    def words(self) -> int:
        """Words of a bitmask."""
        return int(self._masks.shape[1])

    def add(self, sets: HolderSet, row: int) -> HolderSet:
        """The sets with `row` in each of them; the given codes are used up."""
        self._widen(row)
        sets = sets.copy()
        own = np.uint32(row + 1)
        sets[sets == NOBODY] = own
        paired = ((sets < _POOLED) & (sets != own)).nonzero()[0]
        if len(paired):
            sets[paired] = self._pool(sets[paired])
        pooled = sets[sets >= _POOLED] & _PLACE
        if len(pooled):
            self._masks[pooled, row // _WORD] |= _bit(row)
        return sets

    def remove(self, sets: HolderSet, row: int) -> HolderSet:
        """The sets without `row`; the given codes are used up. Needs no set to hold it."""
        sets = sets.copy()
        sets[sets == row + 1] = NOBODY
        pooled = (sets >= _POOLED).nonzero()[0]
        if len(pooled) and row < self._room:
            places = sets[pooled] & _PLACE
            self._masks[places, row // _WORD] &= ~_bit(row)
            single = np.bitwise_count(self._masks[places]).sum(axis=1) == 1
            sets[pooled[single]] = self._unpool(places[single])
        return sets

    def alone(self, row: int) -> int:
        """The set of this row alone."""
        self._widen(row)
        return row + 1

    def add_one(self, code: int, row: int) -> int:
        """The set with `row` in it; the given code is used up."""
        own = self.alone(row)
        if code in (NOBODY, own):
            return own
        if code < _POOLED:
            code = int(self._pool(np.array([code], np.uint32))[0])
        self._masks[code & _PLACE, row // _WORD] |= _bit(row)
        return code

    def remove_one(self, code: int, row: int) -> int:
        """The set without `row`; the given code is used up. Needs no set to hold it."""
        if code == row + 1:
            return NOBODY
        if code < _POOLED or row >= self._room:
            return code
        place = code & _PLACE
        self._masks[place, row // _WORD] &= ~_bit(row)
        if self.bitmask(code).bit_count() > 1:
            return code
        return int(self._unpool(np.array([place], np.uint32))[0])

    def bitmask(self, code: int) -> int:
        """The set as a number: bit r stands for row r."""
        if code < _POOLED:
            return 1 << code >> 1
        return int.from_bytes(self._masks[code & _PLACE].tobytes(), "little")

    def bitmasks(self, sets: HolderSet) -> Bitmasks:
        """The sets as bitmasks, shape (n, words)."""
        masks = np.zeros((len(sets), self.words), np.uint64)
        pooled = sets >= _POOLED
        masks[pooled] = self._masks[sets[pooled] & _PLACE]
        alone = (~pooled & (sets != NOBODY)).nonzero()[0]
        rows = sets[alone].astype(np.int64) - 1
        masks[alone, rows // _WORD] = _bits(rows)
        return masks

    def _pool(self, sets: HolderSet) -> HolderSet:
        """Write single rows as bitmasks."""
        rows = sets.astype(np.int64) - 1
        places = self._take(len(sets))
        self._masks[places] = 0
        self._masks[places, rows // _WORD] = _bits(rows)
        return places.astype(np.uint32) | np.uint32(_POOLED)

    def _unpool(self, places: npt.NDArray[np.uint32]) -> HolderSet:
        """Write bitmasks with a single bit as rows, and give the masks back."""
        masks = self._masks[places]
        words = (masks != 0).argmax(axis=1)
        bits = np.bitwise_count(masks[np.arange(len(masks)), words] - _ONE)
        end = self._free_count + len(places)
        self._free[self._free_count : end] = places
        self._free_count = end
        rows: Rows = words * _WORD + bits
        return (rows + 1).astype(np.uint32)

    def _take(self, count: int) -> npt.NDArray[np.int32]:
        """Places in the pool: those given back first."""
        again = min(count, self._free_count)
        self._free_count -= again
        places = self._free[self._free_count : self._free_count + again].copy()
        fresh = np.arange(self._used, self._used + count - again, dtype=np.int32)
        self._used += len(fresh)
        while self._used > len(self._masks):
            more = len(self._masks) + max(64, len(self._masks) // 4)
            self._masks.resize((more, self.words), refcheck=False)
            self._free.resize(more, refcheck=False)
        return np.concatenate([places, fresh])

    def _widen(self, row: int) -> None:
        if row >= self._room:
            missing = row // _WORD + 1 - self.words
            self._room += missing * _WORD
            self._masks = np.pad(self._masks, ((0, 0), (0, missing)))


def bits_of(masks: Bitmasks) -> npt.NDArray[np.uint8]:
    """One column for each row, (n, words) → (n, words * 64) of 0 and 1."""
    return np.unpackbits(masks.astype("<u8", copy=False).view(np.uint8), axis=1, bitorder="little")


def _bit(row: int) -> np.uint64:
    return np.uint64(1 << row % _WORD)


def _bits(rows: Rows) -> npt.NDArray[np.uint64]:
    return _ONE << (rows % _WORD).astype(np.uint64)
