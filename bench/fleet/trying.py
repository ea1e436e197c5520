"""Runs of several policies over several seeds, on all cores: what a person tries at a prompt."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.fleet import workloads
from bench.fleet.driver import simulate
from bench.fleet.fleet import Fleet
from bench.fleet.outcome import Outcome
from bench.fleet.policy import PolicySpec
from bench.fleet.traffic import Workload


@dataclass(frozen=True, slots=True)
class Trial:
    """One run, small enough to be sent to another process: the workload is made there."""

    workload: str
    rate: float
    requests: int
    traces_at: Path
    fleet: Fleet
    policy: PolicySpec
    seed: int
    """Of the workload, and of the run."""


def run(trial: Trial) -> Outcome:
    """Raises what `simulate` and `workloads.make` do."""
    made = _made(trial.workload, trial.rate, trial.requests, trial.seed, trial.traces_at)
    return simulate(trial.fleet, made, trial.policy, trial.seed)


def run_all(trials: Sequence[Trial], *, jobs: int | None = None) -> Iterator[tuple[Trial, Outcome]]:
    """As they are done, in any order; `jobs` processes at a time, as many as there are cores if not given."""
    if jobs == 1 or len(trials) == 1:
        yield from ((trial, run(trial)) for trial in trials)
        return
    with ProcessPoolExecutor(min(jobs or os.cpu_count() or 1, len(trials))) as pool:
        pending = {pool.submit(run, trial): trial for trial in trials}
        for done in as_completed(pending):
            yield pending[done], done.result()


@lru_cache(maxsize=1)
def _made(name: str, rate: float, requests: int, seed: int, traces_at: Path) -> Workload:
    return workloads.make(name, rate=rate, requests=requests, seed=seed, traces_at=traces_at)
