"""All runs of all scenes, as many at a time as there are hands, and none of them twice."""

import asyncio
from dataclasses import dataclass

from bench.fleet.policy import PolicySpec
from bench.routing import budget
from bench.routing.asking import Ask, Reading, guess, read
from bench.routing.crew import Hands
from bench.routing.loads import Capacities, Load, Loads, best
from bench.routing.meter import Meter
from bench.routing.scenes import Plan, Scene
from bench.routing.settings import Settings


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a scene."""

    scene: Scene
    capacities: Capacities
    loads: list[tuple[Load, dict[str, list[Reading]]]]
    """(load, policy → readings by seed), the lowest load first."""
    remarks: list[str]
    """What did not go as planned, a sentence each."""


class Course:
    """One run of the suite. What is read twice is simulated once: everything that a figure depends on is in
    an `Ask`, but for the code, which does not change while processes live that have read it."""

    def __init__(self, settings: Settings, plan: Plan, hands: Hands, meter: Meter) -> None:
        self._settings, self._plan = settings, plan
        self._hands, self._meter = hands, meter
        self._readings: dict[Ask, asyncio.Task[Reading]] = {}
        self._bases: dict[str, asyncio.Task[tuple[Capacities, list[Load], list[str]]]] = {}
        """Scene → its loads."""

    async def run(self) -> list[Played]:
        """Raises Failed when a process of the crew has ended early."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for scene in self._plan.scenes:
                    if not scene.base:
                        self._bases[scene.name] = self._group.create_task(self._loads(scene))
                playing = [self._group.create_task(self._play(scene)) for scene in self._plan.scenes]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [each.result() for each in playing]

    async def _loads(self, scene: Scene) -> tuple[Capacities, list[Load], list[str]]:
        """What the references bear, and loads by that."""
        references = scene.field.references
        loads = Loads(self._settings, scene, self._read, self._meter)
        begin = await self._hands.do(guess, scene.trial(self._settings, references[0], 1.0, 1))
        capacities = await loads.capacities(references, begin, known=False)
        most = best(list(capacities.values()))
        if not most:
            return capacities, [Load("a guess", begin)], [_too_slow(scene)]
        chosen = [Load.of(fraction, most) for fraction in scene.fractions]
        remarks = [_no_bound(scene)] if _unbounded(capacities) else []
        if scene.matched:
            matched = await loads.matched(1.2 * most)
            chosen += [matched] if matched else []
            remarks += [] if matched else [_no_trouble(scene)]
        return capacities, sorted(chosen, key=lambda load: load.rate), remarks

    async def _play(self, scene: Scene) -> Played:
        capacities, loads, remarks = await self._bases[scene.base or scene.name]
        if scene.base:  # of its loads those that are wanted, and nothing else of it
            some = [load for load in loads if load.fraction in (*scene.fractions, None)]
            capacities, loads, remarks = {}, some or loads[-1:], []
        others = self._others(scene, capacities)
        played, found = await asyncio.gather(
            asyncio.gather(*(self._at(scene, load) for load in loads)), others
        )
        return Played(scene, capacities | found, list(zip(loads, played, strict=True)), remarks)

    async def _others(self, scene: Scene, capacities: Capacities) -> Capacities:
        """What those bear that are no references."""
        specs = tuple(spec for spec in scene.searched if spec.name not in capacities)
        most = best(list(capacities.values())) if capacities else 0.0
        if not specs or not most:
            return {}
        loads = Loads(self._settings, scene, self._read, self._meter)
        return await loads.capacities(specs, most, known=True)

    async def _at(self, scene: Scene, load: Load) -> dict[str, list[Reading]]:
        return dict(
            zip(
                (spec.name for spec in scene.policies),
                await asyncio.gather(*(self._seeds(scene, load, spec) for spec in scene.policies)),
                strict=True,
            )
        )

    async def _seeds(self, scene: Scene, load: Load, spec: PolicySpec) -> list[Reading]:
        trials = (
            scene.trial(self._settings, spec, load.rate, seed) for seed in range(1, self._settings.seeds + 1)
        )
        return await asyncio.gather(*(self._read(Ask(trial, scene.objective)) for trial in trials))

    async def _read(self, ask: Ask) -> Reading:
        cost = budget.seconds(ask.trial)
        if ask in self._readings:
            self._meter.expect(-cost)
            return await self._readings[ask]
        self._readings[ask] = self._group.create_task(self._hands.do(read, ask))
        reading = await self._readings[ask]
        self._meter.done(cost)
        return reading


def _unbounded(capacities: Capacities) -> bool:
    return any(not each.bounded for found in capacities.values() for each in found)


def _no_bound(scene: Scene) -> str:
    return (
        f"{scene.name}: a policy of the reference bore every load that was tried, so its capacity is higher "
        "than what is told; runs of more requests would find it."
    )


def _too_slow(scene: Scene) -> str:
    return (
        f"{scene.name}: no load was found at which any policy of the reference serves 90 % of requests "
        "within the objective, so one load was guessed and no capacity is told."
    )


def _no_trouble(scene: Scene) -> str:
    return f"{scene.name}: no load was found at which the reference's goodput falls to 65 %."
