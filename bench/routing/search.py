"""The highest load that a policy bears: bisection over rates."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

FURTHEST: Final = 12.0
"""How many times as far as the guess it is looked for, in both directions."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search ended with."""

    rate: float
    """Requests a second; 0 where even the least that was tried is too much."""
    runs: int
    bounded: bool = True
    """False where nothing that was tried was too much: the true rate is higher."""


async def highest(
    share: Callable[[float], Awaitable[float]],
    target: float,
    *,
    guess: float,
    step: float,
    tolerance: float,
) -> Found:
    """Where `share` (of requests that are served well, by rate) falls below `target`.

    From the guess on by factors of `step` to the first rate on the other side, then halved until both sides
    are within `tolerance` (0.05: 5 %) of each other; what lies between them is taken as straight. Of a curve
    that crosses the target more than once, one crossing is found.
    """
    held: tuple[float, float] | None = None
    failed: tuple[float, float] | None = None
    rate, runs = guess, 0
    while held is None or failed is None or failed[0] > held[0] * (1.0 + tolerance):
        if not guess / FURTHEST <= rate <= guess * FURTHEST:
            return Found(held[0] if held else 0.0, runs, bounded=failed is not None)
        found = await share(rate)
        runs += 1
        if found >= target:
            held = rate, found
        else:
            failed = rate, found
        rate = _next(rate, held, failed, step)
    return Found(_crossing(held, failed, target), runs)


def _next(
    rate: float, held: tuple[float, float] | None, failed: tuple[float, float] | None, step: float
) -> float:
    if held is None:
        return rate / step
    if failed is None:
        return rate * step
    return math.sqrt(held[0] * failed[0])


def _crossing(held: tuple[float, float], failed: tuple[float, float], target: float) -> float:
    """The rate between the two at which a straight line meets the target."""
    part = (held[1] - target) / (held[1] - failed[1])
    return held[0] + part * (failed[0] - held[0])
