"""Hands of the routing suite that simulate in this process, or make figures up."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bench.fleet.outcome import Summary
from bench.routing.asking import QUANTILES, Ask, Reading

T = TypeVar("T")


class Inline:
    async def do(self, work: Callable[[Any], T], what: Any) -> T:
        return work(what)


SUMMARY = Summary(
    requests=100,
    ttft_p50=0.5,
    ttft_p90=1.0,
    ttft_p99=2.0,
    itl_p50=0.02,
    itl_p99=0.1,
    goodput=0.8,
    attained=0.9,
    hit_rate=0.5,
    refused=0.0,
    failed=0.0,
    balance=1.1,
    duration=60.0,
)


def reading(**figures: float) -> Reading:
    summary = replace(SUMMARY, **figures)  # type: ignore[arg-type]
    return Reading(summary, tuple(summary.ttft_p50 * (0.5 + each) for each in QUANTILES))


@dataclass
class Curves:
    """Serves well as long as the load is below a capacity, policy by policy, and ever less beyond."""

    capacities: Mapping[str, float]
    asked: Counter[Ask] = field(default_factory=Counter)

    async def do(self, work: Callable[[Any], Any], what: Any) -> Any:
        if not isinstance(what, Ask):
            return 3.0
        self.asked[what] += 1
        load = what.trial.rate / self.capacities[what.trial.policy.name]
        share = max(0.0, 1.0 - 0.1 * load)
        return reading(goodput=share, attained=share, ttft_p90=load + 0.01 * what.trial.seed)
