"""The micro benchmarks still fit what they measure; how long it takes is not looked at."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.figures import Figure
from bench.micro import codec, frames, parsing, prefix, schedule
from bench.micro.timing import SIDE, Pace, cost, cost_of_each

HURRIED = Pace(runs=1, seconds=1e-4, quick=True)


@pytest.mark.parametrize("measure", [schedule.figures, parsing.figures, codec.figures, frames.figures])
def test_a_part_measures(measure: Callable[[Pace], list[Figure]]) -> None:
    found = measure(HURRIED)
    assert len({figure.key for figure in found}) == len(found) > 0
    assert all(figure.median(SIDE) > 0.0 for figure in found)


def test_the_producers_are_measured() -> None:
    found = prefix.producers(np.random.default_rng(1), HURRIED, endpoints=10, size=2_000)
    assert all(figure.median(SIDE) > 0.0 for figure in found)


def test_scheduling_has_its_budgets() -> None:
    budgets = {figure.key: figure.budget for figure in schedule.figures(HURRIED) if figure.budget}
    assert budgets == {"schedule_10": 30.0, "schedule_100": 60.0, "schedule_1000": 200.0}


def test_as_many_runs_as_asked_for() -> None:
    calls: list[int] = []
    assert len(cost(lambda: calls.append(1), Pace(runs=4, seconds=1e-4))) == 4
    assert calls


@pytest.mark.parametrize(("count", "runs"), [(10, 3), (2, 2), (1, 1)])
def test_what_cannot_be_repeated_is_called_once(count: int, runs: int) -> None:
    called: list[int] = []
    figures = cost_of_each((lambda n=n: called.append(n) for n in range(count)), Pace(runs=3))  # type: ignore[misc]
    assert called == list(range(count))
    assert len(figures) == runs
