"""CPU time of an operation, measured often enough to tell it from the noise."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures import Figure

SIDE: Final = "cpu"
"""The one column of figures of this kind."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much time a measurement may take."""

    runs: int = 9
    seconds: float = 0.08
    """Of each run."""
    quick: bool = False
    """Whether to leave out what takes long."""


def figure(key: str, title: str, micros: Sequence[float], budget: float | None = None) -> Figure:
    """Microseconds of one operation, run by run."""
    return Figure(key, title, "µs", {SIDE: micros}, budget)


def cost(call: Callable[[], object], pace: Pace) -> list[float]:
    """Microseconds of CPU a call, run by run."""
    calls = _enough(call, pace.seconds)
    return [_run(call, calls) / calls * 1e6 for _ in range(pace.runs)]


def cost_of_each(calls: Iterable[Callable[[], object]], pace: Pace) -> list[float]:
    """Microseconds of CPU of calls that cannot be repeated, their mean over each of some equal parts."""
    micros = [_run(call, 1) * 1e6 for call in calls]
    size = max(1, len(micros) // pace.runs)
    return [sum(micros[at : at + size]) / size for at in range(0, size * min(pace.runs, len(micros)), size)]


def _run(call: Callable[[], object], times: int) -> float:
    """Seconds of this thread."""
    begin = time.thread_time_ns()
    for _ in range(times):
        call()
    return (time.thread_time_ns() - begin) / 1e9


def _enough(call: Callable[[], object], seconds: float) -> int:
    """How many calls take about so long; found by calling, which warms up too."""
    calls = 1
    while (took := _run(call, calls)) < seconds / 4:
        calls *= 2
    return max(1, round(calls * seconds / took))
