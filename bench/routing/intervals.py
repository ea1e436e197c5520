"""Means over seeds with 95 % intervals (Student's t), and differences of two policies seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

# Two-sided 95 % points of Student's t, for 1, 2, 3 … degrees of freedom.
_POINTS: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL: Final = 1.960


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and how far the true one may be from it; what cannot be said is None."""

    mean: float | None
    half: float | None
    """None where there are fewer than two values."""
    values: tuple[float | None, ...]
    """By seed."""

    @property
    def sign(self) -> int:
        """1 where all of the interval is above 0, -1 where it is below, 0 where that is open."""
        if self.mean is None or self.half is None or abs(self.mean) <= self.half:
            return 0
        return 1 if self.mean > 0.0 else -1


def interval(values: Sequence[float | None]) -> Interval:
    """Of the values that are there."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    kept = tuple(None if value is None or math.isnan(value) else value for value in values)
    if not known:
        return Interval(None, None, kept)
    half = t(len(known) - 1) * stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None
    return Interval(fmean(known), half, kept)


def difference(ours: Interval, theirs: Interval) -> Interval:
    """Ours less theirs, seed by seed: what both owe to a seed's requests cancels out."""
    return interval([_less(one, other) for one, other in zip(ours.values, theirs.values, strict=True)])


def ratio(ours: Interval, theirs: Interval) -> Interval:
    """Ours by theirs, seed by seed."""
    return interval([_by(one, other) for one, other in zip(ours.values, theirs.values, strict=True)])


def t(freedom: int) -> float:
    """The point that 95 % of Student's distribution lie within; beyond the table a little more than it is."""
    if freedom <= len(_POINTS):
        return _POINTS[freedom - 1]
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom) + 3.0 / freedom**2


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _by(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other
