"""What is run: workloads on fleets, some of them disturbed, some with engines of another pace."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bench.fleet import roster
from bench.fleet.fleet import ENGINE, FLEETS, Fleet, prefill_decode, slowed, uniform
from bench.fleet.outcome import Objective
from bench.fleet.policy import PolicySpec
from bench.fleet.trying import Trial
from bench.fleet.workloads import TRACES
from bench.routing.settings import Field, Settings

LONGER: Final = {"chat": 4, "agentic": 2}
"""Times as many requests: a conversation goes on for minutes, and a run is to be longer than that."""
DISTURBANCES: Final = {
    "gauges 1 s old": {"scrape_interval": 1.0},
    "4 pickers": {"pickers": 4},
    "index wrong for 20 %": {"wrong_blocks": 0.2},
}
LATE: Final = ("KV events 1 s late", 1.0)
"""The same for those who are fed by events, on the workload that matters most."""
PACES: Final = {"engines 4 times as fast": 4.0, "engines 4 times as slow": 0.25}
DISTURBED: Final = ("conversation", "chat", "shared-prefix", "agentic", "unshared")
"""Workloads that are disturbed, those that matter most first; those that are there count."""
PACED: Final = ("conversation", "shared-prefix")
MIXED: Final = ("mixed-speed", "mixed-memory")
DIVIDED: Final = ("conversation", "agentic")
"""Workloads of the fleets in which some compute prompts and others decode: one of long prompts that are new
for the most part, and one of long prompts that are known."""


class Part(StrEnum):
    """Of the report."""

    WORKLOADS = "Workloads"
    FLEETS = "Mixed fleets"
    DIVIDED = "Prefill/decode fleets"
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
    field: Field
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
        fleet = self.fleet
        if fleet.event_delay and not roster.fed(policy):
            fleet = replace(fleet, event_delay=0.0)  # it would be the same run
        return Trial(self.workload, rate, self.requests, settings.traces_at, fleet, policy, seed)


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
    scenes: list[Scene] = []
    if settings.together.policies:
        scenes += [*_plain(settings, there), *_mixed(settings, there)]
        disturbed = [*_disturbed(settings, scenes, there), *_late(settings, scenes, there)]
        scenes += [*disturbed, *_paced(settings, there)]
    scenes += _divided(settings, there)
    if not scenes:
        raise ValueError(
            "fleets that are divided into prefill and decode are not in the quick suite, nor are they of one "
            "replica; leave out --quick, or give --policies for replicas that do whole requests"
        )
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
                policies=base.field.rivals,
                searched=(),
                fractions=(1.0,),
                base=base.name,
            )


def _late(settings: Settings, scenes: Sequence[Scene], there: Sequence[str]) -> Iterator[Scene]:
    """Beside those whom it concerns, the rivals as they are undisturbed."""
    rivals = settings.together.rivals
    concerned = tuple(each for each in settings.together.policies if roster.fed(each) and each not in rivals)
    what, delay = LATE
    for base in (each for each in scenes if concerned and each.name == _foremost(there)[0]):
        yield replace(
            base,
            name=f"{base.name}, {what}",
            part=Part.DISTURBED,
            fleet=replace(base.fleet, event_delay=delay),
            policies=(*rivals, *concerned),
            searched=(),
            fractions=(1.0,),
            base=base.name,
        )


def _divided(settings: Settings, there: Sequence[str]) -> Iterator[Scene]:
    """Beside the policies for such fleets ours for replicas that do whole requests, on the same engines."""
    field, whole = settings.divided, settings.together.ours
    if not settings.size.whole or settings.replicas < 2 or not field.policies:
        return
    for name in (each for each in DIVIDED if each in there):
        fleet = prefill_decode(settings.replicas)
        scene = _scene(settings, f"{name}, prefill and decode apart", Part.DIVIDED, name, fleet)
        policies = field.policies if whole is None else (*field.policies, whole)
        yield replace(scene, field=field, policies=policies, searched=policies)


def _paced(settings: Settings, there: Sequence[str]) -> Iterator[Scene]:
    """Objectives change as engines do: they count steps."""
    if not settings.size.whole:
        return
    for name in (each for each in PACED if each in there):
        for what, pace in PACES.items():
            fleet = uniform(settings.replicas, slowed(ENGINE, 1.0 / pace))
            scene = _scene(settings, f"{name}, {what}", Part.PACES, name, fleet)
            rivals = scene.field.rivals
            goal = settings.objective
            yield replace(
                scene,
                policies=rivals,
                searched=rivals,
                objective=replace(goal, ttft=goal.ttft / pace, tpot=goal.tpot / pace),
                fractions=(1.0,),
            )


def _scene(settings: Settings, name: str, part: Part, workload: str, fleet: Fleet) -> Scene:
    whole, field = settings.size.whole, settings.together
    return Scene(
        name=name,
        part=part,
        workload=workload,
        fleet=fleet,
        requests=settings.requests * LONGER.get(workload, 1),
        field=field,
        policies=field.policies,
        searched=field.policies if whole else field.rivals,
        objective=settings.objective,
        fractions=settings.size.fractions,
        matched=whole,
    )


def _foremost(there: Sequence[str]) -> list[str]:
    return sorted(there, key=lambda name: DISTURBED.index(name) if name in DISTURBED else len(DISTURBED))
