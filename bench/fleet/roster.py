"""Every policy by its name, and how one is made."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from random import Random
from typing import Final

from bench.fleet.baselines import LeastRequest, RoundRobin
from bench.fleet.fleet import Fleet
from bench.fleet.picker import Picker
from bench.fleet.policy import FOLDER, Maker, Policy, PolicySpec, World
from bench.fleet.rivals import CacheAware, Dynamo, Mooncake

BASELINES: Final[Mapping[str, Maker]] = {
    "round-robin": RoundRobin,
    "least-request": LeastRequest,
    "dynamo": Dynamo,
    "sglang": CacheAware,
    "mooncake": Mooncake,
}
DEFAULT: Final = "default"
"""The picker without a configuration."""
_FED: Final = frozenset({"dynamo", "mooncake"})
_DIVIDES: Final = ("disagg-profile-handler", "pd-profile-handler")


def shipped() -> Mapping[str, Path]:
    """Name → file of the configurations beside this module."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def names() -> list[str]:
    """Of all policies that need no file of the user's."""
    return [*BASELINES, *shipped(), DEFAULT]


def find(name: str) -> PolicySpec:
    """The policy of that name, or of that file. Raises ValueError, with the names that there are."""
    if name in BASELINES:
        return PolicySpec(name, baseline=True)
    if name == DEFAULT:
        return PolicySpec(name)
    file = shipped().get(name) or Path(name)
    if not file.is_file():
        near = get_close_matches(name, names(), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name} is neither a policy ({', '.join(names())}) nor a file{meant}")
    return PolicySpec(file.stem, config=file.read_text(encoding="utf-8"))


def fed(spec: PolicySpec) -> bool:
    """Whether it hears of caches by events: nobody else minds when these come."""
    return spec.name in _FED


def divides(spec: PolicySpec) -> bool:
    """Whether it has prompts computed on one replica and decoded on another."""
    return any(handler in spec.config for handler in _DIVIDES)


def make(spec: PolicySpec, fleet: Fleet, world: World, seed: int) -> Sequence[Policy]:
    """One for each picker. Raises ConfigError when the configuration is wrong."""
    rngs: Iterable[Random] = (Random(f"{seed}/picker/{number}") for number in range(fleet.pickers))
    if spec.baseline:
        return [BASELINES[spec.name](world, rng) for rng in rngs]
    return [Picker(spec.config, fleet, world, rng) for rng in rngs]
