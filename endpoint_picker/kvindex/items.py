"""An index of which endpoint holds which of many single items, such as encoded pictures.

Blocks of a prompt are of use only up to the first that is missing; items are of use each by itself.
"""

import numpy as np

from endpoint_picker.core.endpoints import Rows
from endpoint_picker.kvindex.approximate import ApproximateIndex
from endpoint_picker.kvindex.hashing import Hashes
from endpoint_picker.kvindex.holders import bits_of


class ItemIndex(ApproximateIndex):
    """Item hash → the table rows that hold it; forgets for each row its least recently used items."""

    def count(self, hashes: Hashes, *, rows: int) -> Rows:
        """How many of these items each table row holds, shape (rows,)."""
        counts = np.zeros(max(rows, self._map.words * 64), np.int64)
        if len(hashes):
            sets = self._map.holders(self._keys(hashes))
            held = bits_of(self._map.bitmasks(sets)).sum(axis=0, dtype=np.int64)
            counts[: len(held)] = held
        return counts[:rows]
