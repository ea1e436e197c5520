"""How the loads of a scene are found: what policies bear, and where the reference is in trouble."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Final

from bench.fleet.outcome import Summary
from bench.fleet.policy import PolicySpec
from bench.routing import budget, search
from bench.routing.asking import Ask, Reading
from bench.routing.meter import Meter
from bench.routing.scenes import Scene
from bench.routing.search import Found
from bench.routing.settings import Settings

BORNE: Final = 0.9
"""Share of requests that must be served well at a capacity."""
TROUBLE: Final = 0.65
"""Goodput of the reference's better policy where all are held against it."""
_FIRST_STEP, _KNOWN_STEP, _SEED_STEP = 1.6, 1.3, 1.15
"""Factors of the first steps of a search: from a mere guess, from another policy's, from another seed's."""

Read = Callable[[Ask], Awaitable[Reading]]
Share = Callable[[Summary], float]


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests a second, and why so many."""

    label: str
    rate: float
    fraction: float | None = None
    """Of the capacity of the reference's better policy, where it was chosen so."""

    @classmethod
    def of(cls, fraction: float, capacity: float) -> "Load":
        return cls(f"{fraction:.0%} of capacity", fraction * capacity, fraction)


class Loads:
    """Searches for the loads of one scene."""

    def __init__(self, settings: Settings, scene: Scene, read: Read, meter: Meter) -> None:
        self._settings, self._scene = settings, scene
        self._read, self._meter = read, meter

    async def capacities(self, specs: tuple[PolicySpec, ...], guess: float, *, known: bool) -> "Capacities":
        """Of these policies, by seed; `known`: the guess is another policy's capacity."""
        step = _KNOWN_STEP if known else _FIRST_STEP
        found = await asyncio.gather(
            *(self._search(spec, lambda each: each.attained, BORNE, guess, step) for spec in specs)
        )
        return {spec.name: each for spec, each in zip(specs, found, strict=True)}

    async def matched(self, guess: float) -> Load | None:
        """Where the better reference is in trouble; None where that cannot be found."""
        found = await asyncio.gather(
            *(
                self._search(spec, lambda each: each.goodput, TROUBLE, guess, _KNOWN_STEP)
                for spec in self._scene.field.references
            )
        )
        bounded = all(each.bounded for by_seed in found for each in by_seed)
        rate = best(found) if bounded else 0.0
        return Load(f"reference's goodput {TROUBLE:.0%}", rate) if rate else None

    async def _search(
        self, spec: PolicySpec, share: Share, target: float, guess: float, step: float
    ) -> list[Found]:
        """By seed; the first one's capacity is a good guess for the others'."""
        seek = partial(self._seek, spec, share, target)
        first = await seek(1, guess, step)
        near, step = (first.rate, _SEED_STEP) if first.rate and first.bounded else (guess, step)
        others = self._settings.searched_seeds[1:]
        return [first, *await asyncio.gather(*(seek(seed, near, step) for seed in others))]

    async def _seek(
        self, spec: PolicySpec, share: Share, target: float, seed: int, guess: float, step: float
    ) -> Found:
        async def shared(rate: float) -> float:
            trial = self._scene.trial(self._settings, spec, rate, seed)
            return share((await self._read(Ask(trial, self._scene.objective))).summary)

        found = await search.highest(
            shared, target, guess=guess, step=step, tolerance=self._settings.size.tolerance
        )
        per_run = budget.seconds(self._scene.trial(self._settings, spec, 1.0, seed))
        self._meter.expect((found.runs - budget.search_runs(seed)) * per_run)
        return found


Capacities = dict[str, list[Found]]
"""Policy → what was found, by seed."""


def best(found: list[list[Found]]) -> float:
    """The highest of the policies' mean rates."""
    return max(fmean(each.rate for each in by_seed) for by_seed in found)
