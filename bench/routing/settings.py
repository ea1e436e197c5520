"""The flags, and what they amount to."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from bench import results
from bench.fleet import roster
from bench.fleet.fleet import uniform
from bench.fleet.outcome import Objective
from bench.fleet.policy import PolicySpec, World
from bench.fleet.workloads import WORKLOADS
from bench.processes import ROOT
from bench.routing import crew

OURS: Final = roster.DEFAULT
REFERENCES: Final = ("weighted", "weighted-no-hit-lru", "affinity")
"""Policies of the reference: ours is held against the better of them."""
OURS_DIVIDED: Final = "pd-work"
REFERENCES_DIVIDED: Final = ("pd-weighted", "pd-guide")
"""The same, where some replicas compute prompts and others decode."""
DIVIDED: Final = (*REFERENCES_DIVIDED, OURS_DIVIDED)
POLICIES: Final = (
    "round-robin",
    "least-request",
    *REFERENCES,
    "dynamo",
    "sglang",
    "mooncake",
    OURS,
    *DIVIDED,
)
Number = TypeVar("Number", int, float)
TRACES: Final = ROOT.parent / "shared" / "traces"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run."""

    workloads: tuple[str, ...]
    replicas: int
    requests: int
    fractions: tuple[float, ...]
    """Loads of a scene, by the capacity of the reference's better policy."""
    tolerance: float
    """To which a capacity is searched for."""
    searched_seeds: int | None
    """How many seeds a capacity is searched for with; None: all."""
    disturbed: int
    """How many workloads are also run with disturbances."""
    whole: bool
    """Whether there are other fleets, other paces, and a search for every policy's capacity."""


FULL: Final = Size(
    workloads=tuple(WORKLOADS),
    replicas=8,
    requests=2000,
    fractions=(0.6, 0.8, 1.0, 1.2),
    tolerance=0.04,
    searched_seeds=None,
    disturbed=2,
    whole=True,
)
QUICK: Final = Size(
    workloads=("conversation", "shared-prefix"),
    replicas=4,
    requests=250,
    fractions=(0.8, 1.2),
    tolerance=0.1,
    searched_seeds=1,
    disturbed=1,
    whole=False,
)


@dataclass(frozen=True, slots=True)
class Field:
    """Policies that compete, and what ours is held against."""

    policies: tuple[PolicySpec, ...]
    ours: PolicySpec | None
    references: tuple[PolicySpec, ...]
    """Those of the reference; where none is wanted, all but ours, and if need be that."""

    @classmethod
    def of(cls, policies: tuple[PolicySpec, ...], ours: str, references: tuple[str, ...]) -> "Field":
        others = tuple(spec for spec in policies if spec.name != ours)
        wanted = tuple(spec for spec in others if spec.name in references) or others or policies
        return cls(policies, next((spec for spec in policies if spec.name == ours), None), wanted)

    @property
    def rivals(self) -> tuple[PolicySpec, ...]:
        """Those that ours is held against, and ours."""
        if self.ours is None or self.ours in self.references:
            return self.references
        return (*self.references, self.ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is wanted."""

    size: Size
    workloads: tuple[str, ...]
    policies: tuple[PolicySpec, ...]
    seeds: int
    requests: int
    replicas: int
    objective: Objective
    traces_at: Path
    jobs: int
    into: Path
    command: str
    """As a user would type it again."""

    @property
    def searched_seeds(self) -> range:
        """With which capacities are searched for."""
        return range(1, 1 + min(self.seeds, self.size.searched_seeds or self.seeds))

    @property
    def together(self) -> Field:
        """Policies for replicas that do whole requests."""
        policies = tuple(spec for spec in self.policies if not roster.divides(spec))
        return Field.of(policies, OURS, REFERENCES)

    @property
    def divided(self) -> Field:
        """Policies for replicas that compute prompts or decode."""
        policies = tuple(spec for spec in self.policies if roster.divides(spec))
        return Field.of(policies, OURS_DIVIDED, REFERENCES_DIVIDED)


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Ends the program, and says why, when a flag is wrong. Raises ConfigError when a policy's file is."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    flags = parser.parse_args(given)
    size = QUICK if flags.quick else FULL
    try:
        return Settings(
            size=size,
            workloads=_workloads(flags.workloads) if flags.workloads else size.workloads,
            policies=_policies(flags.policies),
            seeds=_positive("--seeds", flags.seeds),
            requests=_positive("--requests", flags.requests or size.requests),
            replicas=_positive("--replicas", flags.replicas or size.replicas),
            objective=Objective(
                ttft=_positive("--ttft", flags.ttft), tpot=_positive("--tpot", flags.tpot) / 1e3
            ),
            traces_at=flags.trace,
            jobs=_positive("--jobs", flags.jobs or crew.cores()),
            into=flags.into,
            command=" ".join(("python -m bench.routing", *given)),
        )
    except ValueError as error:
        parser.error(str(error))


def _positive(flag: str, value: Number) -> Number:
    if not value > 0:
        raise ValueError(f"{flag} is {value}; it must be more than 0")
    return value


def _workloads(names: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names.split(",")))
    unknown = [name for name in chosen if name not in WORKLOADS]
    if unknown:
        raise ValueError(f"{unknown[0]} is no workload; there are {', '.join(WORKLOADS)}")
    return chosen


def _policies(names: str) -> tuple[PolicySpec, ...]:
    specs = tuple(roster.find(name) for name in names.split(","))
    called = [spec.name for spec in specs]
    doubles = [name for name in called if called.count(name) > 1]
    if doubles:
        raise ValueError(f"two policies are called {doubles[0]}; rename one of the files")
    for spec in specs:
        if not spec.baseline:  # better now than after an hour
            roster.make(spec, uniform(1), World([], 64), 0)
    return specs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.routing",
        description="Run every policy against every workload on the same requests, in virtual time, and "
        "write a report: report.html, routing.json and pictures. The loads are parts of what the "
        "reference's better policy bears, which is searched for first. Figures depend on the seeds "
        "alone, not on the machine or the number of processes.",
        epilog="A workload that needs a trace which is not there is left out, and the report says so.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help=f"{_told(QUICK)}; at most three minutes on two cores")
    add("--workloads", metavar="NAME,…", help=f"of {', '.join(WORKLOADS)} (all)")
    add(
        "--policies",
        default=",".join(POLICIES),
        metavar="NAME,…",
        help=f"of {', '.join(roster.names())}, or files of configurations (%(default)s)",
    )
    add("--seeds", type=int, default=3, metavar="N", help="runs of everything (%(default)s)")
    add(
        "--requests",
        type=int,
        metavar="N",
        help=f"of a run; conversations have more (see the report) ({FULL.requests}, quick: {QUICK.requests})",
    )
    add("--replicas", type=int, metavar="N", help=f"engines ({FULL.replicas}, quick: {QUICK.replicas})")
    add("--ttft", type=float, default=2.0, metavar="S", help="time to first token that is good (%(default)s)")
    add("--tpot", type=float, default=50.0, metavar="MS", help="time per token that is good (%(default)s)")
    add("--jobs", type=int, metavar="N", help="processes at a time (as many as there are cores)")
    add("--trace", type=Path, default=TRACES, metavar="DIR", help="where traces are (%(default)s)")
    add("--into", type=Path, default=results.FOLDER, metavar="DIR", help="where to write (bench/results)")
    return parser


def _told(size: Size) -> str:
    return f"{' and '.join(size.workloads)} on {size.replicas} replicas, {size.requests} requests a run"
