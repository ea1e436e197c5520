"""Times between tokens: millions of them, of which few differ.

Every sequence of a batch gets a token in each step, so a step's time counts once for each. Times are counted
in bins that are one hundredth wide, which is exact enough for a percentile and adds up over replicas.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

BINS: Final = 1700
_LEAST: Final = 1e-4
"""Seconds; whatever is shorter counts as this. The last bin is that of about 2,400 seconds."""
_WIDTH: Final = 0.01

Counts = npt.NDArray[np.int64]


def bin_of(seconds: float) -> int:
    """Where a gap is counted."""
    if seconds <= _LEAST:
        return 0
    return min(int(math.log(seconds / _LEAST) / _WIDTH), BINS - 1)


def percentile(counts: Counts, share: float) -> float:
    """Seconds that this share (0..1) of all gaps do not exceed, to a hundredth; NaN where there are none."""
    total = int(counts.sum())
    if not total:
        return math.nan
    place = int(np.searchsorted(counts.cumsum(), max(1, math.ceil(share * total))))
    return _LEAST * math.exp((place + 0.5) * _WIDTH)


class Gaps:
    """The gaps of one replica: how many of each length, and the longest since any step."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BINS, np.int64)
        self.steps = 0
        """How many entries there have been."""
        self._falling: list[tuple[int, float]] = []
        """(step, seconds), each longer than all that follow."""

    def add(self, mean: float, count: int, longest: float) -> None:
        """An entry: so many gaps of about `mean` seconds."""
        if count:
            self.counts[bin_of(mean)] += count
        falling = self._falling
        while falling and falling[-1][1] <= longest:
            falling.pop()
        falling.append((self.steps, longest))
        self.steps += 1

    def pause(self, seconds: float) -> None:
        """One gap of a sequence that had lost its place."""
        self.counts[bin_of(seconds)] += 1

    def longest_since(self, step: int) -> float:
        """Of the entries from this one on; 0 where there are none."""
        falling: Sequence[tuple[int, float]] = self._falling
        place = bisect_left(falling, (step, -1.0))
        return falling[place][1] if place < len(falling) else 0.0
