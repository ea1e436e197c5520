"""Runs → figures with intervals. Tables, pictures and the file for machines show what is here."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.fleet.outcome import Objective, Summary
from bench.routing import intervals
from bench.routing.asking import Reading
from bench.routing.course import Played
from bench.routing.intervals import Interval
from bench.routing.loads import Load
from bench.routing.scenes import Part
from bench.routing.search import Found


@dataclass(frozen=True, slots=True)
class Figure:
    """One column."""

    title: str
    unit: str
    of: Callable[[Summary], float]
    better: int
    """1: more is better, -1: less is; 0: neither."""


FIGURES: Final[Mapping[str, Figure]] = {
    "ttft_p50": Figure("TTFT p50", "s", lambda each: each.ttft_p50, -1),
    "ttft_p90": Figure("TTFT p90", "s", lambda each: each.ttft_p90, -1),
    "ttft_p99": Figure("TTFT p99", "s", lambda each: each.ttft_p99, -1),
    "itl_p50": Figure("ITL p50", "ms", lambda each: each.itl_p50 * 1e3, -1),
    "itl_p99": Figure("ITL p99", "ms", lambda each: each.itl_p99 * 1e3, -1),
    "goodput": Figure("goodput", "%", lambda each: each.goodput * 100.0, 1),
    "attained": Figure("attained", "%", lambda each: each.attained * 100.0, 1),
    "hit_rate": Figure("hits", "%", lambda each: each.hit_rate * 100.0, 0),
    "refused": Figure("refused", "%", lambda each: each.refused * 100.0, -1),
    "failed": Figure("failed", "%", lambda each: each.failed * 100.0, -1),
    "balance": Figure("balance", "", lambda each: each.balance, 0),
}

Row = dict[str, Interval]
"""Figure → what it is."""


@dataclass(frozen=True, slots=True)
class LoadSheet:
    """One scene at one load: all policies on the same requests."""

    label: str
    rate: float
    policies: dict[str, Row]
    ttft: dict[str, list[float]]
    """Policy → quantiles of TTFT (see `asking.QUANTILES`), mean of the seeds, seconds."""
    reference: str | None
    """The reference's policy of the highest goodput here, which ours is held against."""
    difference: Row
    """Ours less that, seed by seed."""
    ratio: Row
    """Ours by that, seed by seed."""


@dataclass(frozen=True, slots=True)
class SceneSheet:
    """One workload on one fleet."""

    name: str
    part: Part
    workload: str
    fleet: str
    replicas: int
    pickers: int
    scrape_interval: float
    wrong_blocks: float
    event_delay: float
    divided: bool
    """Whether some replicas compute prompts for others."""
    requests: int
    objective: Objective
    base: str
    ours: str | None
    """Which policy is ours, where it is among them."""
    capacity: dict[str, Interval]
    """Policy → requests a second."""
    unbounded: list[str]
    """Policies that bear more than was tried: their capacity is more than what is told."""
    capacity_reference: str | None
    capacity_ratio: Interval | None
    """Ours by the reference's highest."""
    loads: list[LoadSheet]
    remarks: list[str]


def sheet(played: Played) -> SceneSheet:
    """One scene's figures."""
    scene = played.scene
    references = [spec.name for spec in scene.field.references]
    ours = None if scene.field.ours is None else scene.field.ours.name
    capacity = {policy: _capacity(by_seed) for policy, by_seed in played.capacities.items()}
    unbounded = [
        policy for policy, by_seed in played.capacities.items() if not all(each.bounded for each in by_seed)
    ]
    reference = _best(references, ours, lambda name: _mean(capacity.get(name)))
    ratio = None
    known = {name for name, each in capacity.items() if each.mean and name not in unbounded}
    if reference in known and ours in known:
        assert reference is not None
        assert ours is not None
        ratio = intervals.ratio(capacity[ours], capacity[reference])
    return SceneSheet(
        name=scene.name,
        part=scene.part,
        workload=scene.workload,
        fleet=scene.fleet.name,
        replicas=len(scene.fleet.engines),
        pickers=scene.fleet.pickers,
        scrape_interval=scene.fleet.scrape_interval,
        wrong_blocks=scene.fleet.wrong_blocks,
        event_delay=scene.fleet.event_delay,
        divided=bool(scene.fleet.roles),
        requests=scene.requests,
        objective=scene.objective,
        base=scene.base,
        ours=ours,
        capacity=capacity,
        unbounded=unbounded,
        capacity_reference=reference if reference in capacity else None,
        capacity_ratio=ratio,
        loads=[_at(load, readings, references, ours) for load, readings in played.loads],
        remarks=played.remarks,
    )


def _at(
    load: Load, readings: Mapping[str, Sequence[Reading]], references: Sequence[str], ours: str | None
) -> LoadSheet:
    rows = {policy: _row([each.summary for each in by_seed]) for policy, by_seed in readings.items()}
    reference = _best(
        references, ours, lambda name: (_mean(rows[name]["goodput"]), -_mean(rows[name]["ttft_p90"]))
    )
    difference: Row = {}
    ratio: Row = {}
    if ours is not None and reference is not None:
        mine, theirs = rows[ours], rows[reference]
        difference = {key: intervals.difference(mine[key], theirs[key]) for key in FIGURES}
        ratio = {key: intervals.ratio(mine[key], theirs[key]) for key in FIGURES}
    ttft = {policy: _curve(by_seed) for policy, by_seed in readings.items()}
    return LoadSheet(load.label, load.rate, rows, ttft, reference, difference, ratio)


def _capacity(by_seed: Sequence[Found]) -> Interval:
    """Where some seed found no bound: the least that is known to be borne, without an interval."""
    tried = [found.rate for found in by_seed if not found.bounded]
    return intervals.interval([min(tried)] if tried else [found.rate or math.nan for found in by_seed])


def _row(summaries: Sequence[Summary]) -> Row:
    return {
        key: intervals.interval([figure.of(each) for each in summaries]) for key, figure in FIGURES.items()
    }


def _curve(readings: Sequence[Reading]) -> list[float]:
    curves = [each.ttft for each in readings if each.ttft]
    return [round(sum(values) / len(curves), 4) for values in zip(*curves, strict=True)]


def _best(references: Sequence[str], ours: str | None, worth: Callable[[str], object]) -> str | None:
    """None where ours is the only policy."""
    others = [name for name in references if name != ours]
    return max(others, key=worth, default=None)  # type: ignore[arg-type]


def _mean(value: Interval | None) -> float:
    return -math.inf if value is None or value.mean is None else value.mean
