"""What came of a run: a row for each request, and sums over them."""

import math
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.fleet import gaps

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Fate(IntEnum):
    """How a request ended."""

    SERVED = 0
    REFUSED = 1
    """By the picker."""
    FAILED = 2
    """By a replica, or for want of one."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a request is to be served within; seconds."""

    ttft: float = 2.0
    tpot: float = 0.05
    prefills: float = 0.0
    """Or so many times the prompt's own prefill time, where that is longer; 0: never."""


GOODPUT: Final = Objective()
LENGTH_AWARE: Final = Objective(prefills=3.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Arrays of shape (requests,), by the requests' numbers; times in seconds, NaN where there is none."""

    policy: str
    fate: Ints
    """A `Fate` each."""
    replica: Ints
    """Who served it, or was to; -1: nobody."""
    arrival: Floats
    ttft: Floats
    """Time to first token."""
    tpot: Floats
    """Mean time between its tokens; 0 where there is but one."""
    longest_gap: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    """Of the prompt, found by who computed it."""
    own_prefill: Floats
    """What the prompt takes on an idle, empty engine: the fleet's first."""
    gaps: Ints
    """Times between tokens, counted in bins (see `gaps`); of the whole run."""
    busy: Floats
    """Seconds in which each replica computed, shape (replicas,)."""
    duration: float
    """Virtual seconds until the last answer ended."""
    prefiller: Ints
    """Who computed its prompt for another replica; -1: nobody."""

    def within(self, objective: Objective) -> npt.NDArray[np.bool_]:
        """Which requests were served as well as that."""
        ttft = np.maximum(objective.ttft, objective.prefills * self.own_prefill)
        with np.errstate(invalid="ignore"):
            good = (self.ttft < ttft) & (self.tpot < objective.tpot)
        met: npt.NDArray[np.bool_] = good & (self.fate == Fate.SERVED)
        return met

    def summary(self, *, since: float = 0.0, goodput: Objective = GOODPUT) -> "Summary":
        """In sum, of the requests that arrived at `since` or later."""
        counted = self.arrival >= since
        served = counted & (self.fate == Fate.SERVED)
        ttft = self.ttft[served]
        prompt = int(self.prompt_tokens[served].sum())
        return Summary(
            requests=int(counted.sum()),
            ttft_p50=_quantile(ttft, 0.5),
            ttft_p90=_quantile(ttft, 0.9),
            ttft_p99=_quantile(ttft, 0.99),
            itl_p50=gaps.percentile(self.gaps, 0.5),
            itl_p99=gaps.percentile(self.gaps, 0.99),
            goodput=_share(self.within(goodput)[counted]),
            attained=_share(self.within(LENGTH_AWARE)[counted]),
            hit_rate=int(self.cached_tokens[served].sum()) / prompt if prompt else math.nan,
            refused=_share(self.fate[counted] == Fate.REFUSED),
            failed=_share(self.fate[counted] == Fate.FAILED),
            balance=float(self.busy.max() / self.busy.mean()) if self.busy.any() else math.nan,
            duration=self.duration,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in figures. Refused and failed requests have no latency, and miss every objective."""

    requests: int
    ttft_p50: float
    ttft_p90: float
    ttft_p99: float
    itl_p50: float
    """Over all gaps between tokens of the run."""
    itl_p99: float
    goodput: float
    """Share of requests within the objective, by default TTFT < 2 s and TPOT < 50 ms."""
    attained: float
    """The same, where a prompt may also take three times as long as it does alone."""
    hit_rate: float
    """Share of the served prompts' tokens that came from caches."""
    refused: float
    failed: float
    """Shares of all requests."""
    balance: float
    """The busiest replica's time over the mean; 1 is even."""
    duration: float

    def document(self) -> dict[str, Any]:
        """For a machine to read; None where there is no figure."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: None if math.isnan(value) else value for name, value in values.items()}


def _quantile(values: Floats, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else math.nan


def _share(which: npt.NDArray[np.bool_]) -> float:
    return float(which.mean()) if len(which) else math.nan
