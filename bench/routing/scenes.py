"""What is run: workloads on fleets, some of them disturbed, some with engines of another pace."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bench.fleet.fleet import ENGINE, FLEETS, Fleet, slowed, uniform
from bench.fleet.outcome import Objective
from bench.fleet.policy import PolicySpec
from bench.fleet.trying import Trial
from bench.fleet.workloads import TRACES
from bench.routing.settings import Settings

LONGER: Final = {"chat": 4, "agentic": 2}
"""Times as many requests: a conversation goes on for minutes, and a run is to be longer than that."""
DISTURBANCES: Final = {
    "gauges 1 s old": {"scrape_interval": 1.0},
    "4 pickers": {"pickers": 4},
    "index wrong for 20 %": {"wrong_blocks": 0.2},
}
PACES: Final = {"engines 4 times as fast": 4.0, "engines 4 times as slow": 0.25}
DISTURBED: Final = ("conversation", "chat", "shared-prefix", "agentic", "unshared")
"""Workloads that are disturbed, those that matter most first; those that are there count."""
PACED: Final = ("conversation", "shared-prefix")
MIXED: Final = ("mixed-speed", "mixed-memory")


class Part(StrEnum):
    """Of the report."""

    WORKLOADS = "Workloads"
    FLEETS = "Mixed fleets"
    DISTURBED = "Disturbed"
    PACES = "Engines of another pace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One workload on one fleet, at several loads."""

    name: str
    part: Part
    workload: str
    fleet: Fleet
    requests: int
    policies: tuple[PolicySpec, ...]
    searched: tuple[PolicySpec, ...]
    """Those whose capacity is searched for."""
    objective: Objective
    fractions: tuple[float, ...]
    base: str = ""
    """The scene whose loads are played here; empty: loads of its own."""
    matched: bool = False
    """Whether it is also run where the reference's goodput is 65 %."""

    def trial(self, settings: Settings, policy: PolicySpec, rate: float, seed: int) -> Trial:
        return Trial(self.workload, rate, self.requests, settings.traces_at, self.fleet, policy, seed)


@dataclass(frozen=True, slots=True)
class Plan:
    scenes: tuple[Scene, ...]
    skipped: tuple[str, ...]
    """Why something is not there, a sentence each."""


def plan(settings: Settings) -> Plan:
    """All of it, in the order of the report. Raises ValueError when nothing is left."""
    missing = {
        name: settings.traces_at / TRACES[name]
        for name in settings.workloads
        if name in TRACES and not (settings.traces_at / TRACES[name]).is_file()
    }
    there = [name for name in settings.workloads if name not in missing]
    skipped = tuple(
        f"The workload {name} is left out: its trace {file.name} is not in {file.parent}."
        for name, file in missing.items()
    )
    if not there:
        raise ValueError(f"{' '.join(skipped)} No workload is left; give --trace DIR or other --workloads")
    scenes = [*_plain(settings, there), *_mixed(settings, there)]
    scenes += [*_disturbed(settings, scenes, there), *_paced(settings, there)]
    return Plan(tuple(scenes), skipped)


def _plain(settings: Settings, there: Sequence[str]) -> Iterator[Scene]:
    for name in there:
        yield _scene(settings, name, Part.WORKLOADS, name, uniform(settings.replicas))


def _mixed(settings: Settings, there: Sequence[str]) -> Iterator[Scene]:
    """On the workload that matters most."""
    if settings.size.whole and settings.replicas > 1:
        name = _foremost(there)[0]
        for kind in MIXED:
            fleet = FLEETS[kind](settings.replicas, ENGINE)
            yield _scene(settings, f"{name}, {kind.replace('-', ' ')}", Part.FLEETS, name, fleet)


def _disturbed(settings: Settings, scenes: Sequence[Scene], there: Sequence[str]) -> Iterator[Scene]:
    """The foremost workloads, and the fleet of two speeds, at loads of the undisturbed."""
    bases = _foremost(there)[: settings.size.disturbed]
    bases += [each.name for each in scenes if each.fleet.name == MIXED[0]]
    for base in (each for name in bases for each in scenes if each.name == name):
        for what, changes in DISTURBANCES.items():
            yield replace(
                base,
                name=f"{base.name}, {what}",
                part=Part.DISTURBED,
                fleet=replace(base.fleet, **changes),  # type: ignore[arg-type]
                policies=_rivals(settings),
                searched=(),
                fractions=(1.0,),
                base=base.name,
            )


def _paced(settings: Settings, there: Sequence[str]) -> Iterator[Scene]:
    """Objectives change as engines do: they count steps."""
    if not settings.size.whole:
        return
    for name in (each for each in PACED if each in there):
        for what, pace in PACES.items():
            fleet = uniform(settings.replicas, slowed(ENGINE, 1.0 / pace))
            scene = _scene(settings, f"{name}, {what}", Part.PACES, name, fleet)
            rivals = _rivals(settings)
            goal = settings.objective
            yield replace(
                scene,
                policies=rivals,
                searched=rivals,
                objective=replace(goal, ttft=goal.ttft / pace, tpot=goal.tpot / pace),
                fractions=(1.0,),
            )


def _scene(settings: Settings, name: str, part: Part, workload: str, fleet: Fleet) -> Scene:
    whole = settings.size.whole
    return Scene(
        name=name,
        part=part,
        workload=workload,
        fleet=fleet,
        requests=settings.requests * LONGER.get(workload, 1),
        policies=settings.policies,
        searched=settings.policies if whole else _rivals(settings),
        objective=settings.objective,
        fractions=settings.size.fractions,
        matched=whole,
    )


def _foremost(there: Sequence[str]) -> list[str]:
    return sorted(there, key=lambda name: DISTURBED.index(name) if name in DISTURBED else len(DISTURBED))


def _rivals(settings: Settings) -> tuple[PolicySpec, ...]:
    """Those that ours is held against, and ours."""
    ours = settings.ours
    return (
        settings.references if ours is None or ours in settings.references else (*settings.references, ours)
    )
