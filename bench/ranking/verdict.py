"""Who is ahead of whom, beyond noise, and whether two worlds say the same.

Both policies of a pair got the same requests, so they are compared request by request. Requests that come
close to each other share queues: blocks of them in a row are drawn anew, with replacement, many times over
(a paired block bootstrap). A pair is a tie where the 95 % interval of the difference holds 0, or where the
difference is less than a twentieth: less than the ways of both worlds differ in.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BLOCK: Final = 25
"""Requests in a row that are drawn together."""
DRAWS: Final = 400
TOLERANCE: Final = 0.05
"""Share of the larger figure that a difference must have."""
_INTERVAL: Final = (2.5, 97.5)

Order = Literal[-1, 0, 1]
"""-1: the first is ahead; 0: a tie; 1: the second is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One policy's run in one world: arrays of shape (requests,), in the order of arrival."""

    ttft: Floats
    """Seconds; NaN where there was no answer."""
    good: Floats
    """1 where the objective was met, else 0."""
    hit_rate: float
    facts: Mapping[str, Any]
    """What else is to be told."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a sample."""

    title: str
    of: Callable[[Sample, npt.NDArray[np.int64]], float]
    """Of these requests."""
    sign: int
    """1: less is better; -1: more is."""

    def value(self, sample: Sample) -> float:
        """Of all requests."""
        return self.of(sample, np.arange(len(sample.ttft)))

    def order(self, one: Sample, other: Sample, seed: int = 0) -> Order:
        """Who is ahead."""
        first, second = self.value(one), self.value(other)
        if math.isnan(first) or math.isnan(second):  # nobody was served
            return 0 if math.isnan(first) and math.isnan(second) else 1 if math.isnan(first) else -1
        if abs(first - second) <= TOLERANCE * max(abs(first), abs(second)):
            return 0
        differences = [self.of(one, rows) - self.of(other, rows) for rows in _draws(len(one.ttft), seed)]
        low, high = np.nanpercentile(differences, _INTERVAL)
        if low <= 0.0 <= high:
            return 0
        return -1 if (high < 0.0) == (self.sign > 0) else 1


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _p90(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, 90)) if len(known) else math.nan


METRICS: Final[Mapping[str, Metric]] = {
    "ttft_mean": Metric("TTFT mean", lambda sample, rows: _mean(sample.ttft[rows]), 1),
    "ttft_p90": Metric("TTFT p90", lambda sample, rows: _p90(sample.ttft[rows]), 1),
    "goodput": Metric("goodput", lambda sample, rows: _mean(sample.good[rows]), -1),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both worlds say by one metric; pairs of policies."""

    alike: Sequence[tuple[str, str]]
    """Decided the same way in both, or a tie in both."""
    open: Sequence[tuple[str, str]]
    """Decided in one, a tie in the other."""
    against: Sequence[tuple[str, str]]
    """Decided in both, one way and the other."""

    @property
    def holds(self) -> bool:
        return not self.against


World = Mapping[str, Sample]
"""Policy → its run."""


def agreement(metric: Metric, one: World, other: World) -> Agreement:
    """Over all pairs of policies."""
    alike: list[tuple[str, str]] = []
    undecided: list[tuple[str, str]] = []
    against: list[tuple[str, str]] = []
    for pair in combinations(one, 2):
        said, heard = (metric.order(world[pair[0]], world[pair[1]]) for world in (one, other))
        (alike if said == heard else undecided if said * heard == 0 else against).append(pair)
    return Agreement(alike, undecided, against)


def ranking(metric: Metric, world: World) -> str:
    """From the best on: `a = b < c`, where each sign is about the two beside it."""
    found = sorted(world, key=lambda name: metric.sign * metric.value(world[name]))
    line = found[0]
    for ahead, behind in pairwise(found):
        line += f" {'=' if metric.order(world[ahead], world[behind]) == 0 else '<'} {behind}"
    return line


@lru_cache(maxsize=4)
def _draws(count: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Rows, again and again."""
    rng = np.random.default_rng(seed)
    size = min(BLOCK, count)
    within = np.arange(size)
    starts = rng.integers(0, count - size + 1, size=(DRAWS, -(-count // size)))
    return [(row[:, None] + within).ravel()[:count] for row in starts]
