"""Which LoRA adapters each endpoint has, kept so that one question covers all endpoints."""

from typing import Final

import numpy as np
import numpy.typing as npt

NONE: Final[frozenset[str]] = frozenset()


class Adapters:
    """The adapters of each table row in one state: running, or waiting to run."""

    __slots__ = ("_names", "_rows", "counts")

    def __init__(self, capacity: int) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(capacity, np.int64)
        """How many each row has, shape (capacity,)."""
        self._names: list[frozenset[str]] = [NONE] * capacity
        self._rows: dict[str, set[int]] = {}
        """Adapter → the rows that have it; only those that some row has."""

    def __getitem__(self, row: int) -> frozenset[str]:
        return self._names[row]

    def __setitem__(self, row: int, names: frozenset[str]) -> None:
        old = self._names[row]
        if names == old:
            return
        for name in old - names:
            self._rows[name].discard(row)
            if not self._rows[name]:
                del self._rows[name]
        for name in names - old:
            self._rows.setdefault(name, set()).add(row)
        self._names[row] = names
        self.counts[row] = len(names)

    @property
    def names(self) -> tuple[frozenset[str], ...]:
        """Of each row."""
        return tuple(self._names)

    def grow(self, extra: int) -> None:
        self.counts = np.concatenate([self.counts, np.zeros(extra, np.int64)])
        self._names += [NONE] * extra

    def have(self, adapter: str) -> npt.NDArray[np.bool_]:
        """Which rows have it, shape (capacity,)."""
        mask = np.zeros(len(self._names), np.bool_)
        rows = self._rows.get(adapter)
        if rows:
            mask[list(rows)] = True
        return mask
