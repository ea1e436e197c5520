"""One run: what it is asked, and what it tells; small enough to be sent to another process and back."""

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np

from bench.fleet import workloads
from bench.fleet.fleet import prefill_seconds
from bench.fleet.outcome import Fate, Objective, Outcome, Summary
from bench.fleet.trying import Trial, run

QUANTILES: Final = tuple(place / 50.0 for place in range(51))
PREFILLS: Final = 3.0
"""Times its own prefill that a prompt may take, where that is longer than the objective for all."""
_SHARED: Final = 0.6
"""Of a prompt that has to be computed, for a first guess."""
_BATCH: Final = 20
"""Sequences that share a step, for the same."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A run, and what its requests are to be served within."""

    trial: Trial
    objective: Objective


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of it."""

    summary: Summary
    """`attained` is by the objective that was asked for, too."""
    ttft: tuple[float, ...]
    """Seconds, at QUANTILES of the served requests; empty where there are none."""


def read(ask: Ask) -> Reading:
    """Simulate. Raises what `trying.run` does."""
    return reading(run(ask.trial), ask.objective)


def reading(outcome: Outcome, objective: Objective) -> Reading:
    within = outcome.within(replace(objective, prefills=PREFILLS))
    summary = replace(outcome.summary(goodput=objective), attained=float(within.mean()))
    ttft = outcome.ttft[outcome.fate == Fate.SERVED]
    return Reading(summary, tuple(map(float, np.quantile(ttft, QUANTILES))) if len(ttft) else ())


def guess(trial: Trial) -> float:
    """Requests a second that the fleet might bear, from the work in them: where a search begins."""
    made = workloads.make(
        trial.workload, rate=trial.rate, requests=trial.requests, seed=trial.seed, traces_at=trial.traces_at
    )
    engine = trial.fleet.engines[0]
    prefill = fmean(prefill_seconds(engine, request.prompt_tokens) for request in made)
    decode = fmean(request.output_tokens for request in made) * (
        engine.fixed_s / _BATCH + engine.decode_sequence_s
    )
    return len(trial.fleet.engines) / (_SHARED * prefill + decode)
