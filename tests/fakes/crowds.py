"""Crowds of requests for fleets of the bench, and what became of them over time."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import yaml

from bench.fleet.driver import simulate
from bench.fleet.fleet import ENGINE, Fleet, slowed, uniform
from bench.fleet.outcome import Outcome
from bench.fleet.policy import PolicySpec
from bench.fleet.roster import find
from bench.fleet.traffic import Request, Workload
from bench.fleet.workloads.making import BLOCK, Ids, about, poisson

POLICY = "default"
"""The policy whose behaviour is described."""


def beside(scorer: str, *, weight: float) -> PolicySpec:
    """The policy's scorer, with another one in its profile; `scorer` is its plugin in YAML."""
    plugin = yaml.safe_load(scorer)
    placed = [{"pluginRef": "prefill-work-scorer"}, {"pluginRef": plugin["type"], "weight": weight}]
    document = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [{"type": "prefill-work-scorer"}, plugin],
        "schedulingProfiles": [{"name": "default", "plugins": placed}],
    }
    return PolicySpec(f"{POLICY}-beside", config=yaml.safe_dump(document))


def crowd(
    rate: float,
    count: int,
    *,
    groups: int = 0,
    shared: int = 3072,
    question: int = 1000,
    answer: int = 60,
    adapters: Sequence[str] = ("",),
    seed: int = 1,
) -> Workload:
    """`rate` requests a second; those of one of `groups` have `shared` tokens in common (0: nobody has)."""
    rng, ids = Random(seed), Ids()
    heads = [ids.take(shared) for _ in range(groups)] or [()]
    requests = []
    for time in islice(poisson(rng, rate), count):
        head, asked = rng.choice(heads), about(rng, question, spread=0.4)
        requests.append(
            Request(
                prompt_tokens=len(head) * BLOCK + asked,
                output_tokens=about(rng, answer, spread=0.4),
                blocks=head + ids.take(asked),
                arrival=time,
                adapter=rng.choice(adapters),
            )
        )
    return Workload.of("crowd", [[each] for each in requests], BLOCK)


def alike(replicas: int, *, times: float = 1.0, **changes: Any) -> Fleet:
    """Engines that take so many times as long as usual."""
    return replace(uniform(replicas, slowed(ENGINE, times)), **changes)


def play(where: Fleet, what: Workload, policy: str | PolicySpec = POLICY, *, seed: int = 1) -> Outcome:
    return simulate(where, what, find(policy) if isinstance(policy, str) else policy, seed)


def share(outcome: Outcome, replica: int, since: float, until: float) -> float:
    """Of the requests that came in between, those that went there."""
    came = (outcome.arrival >= since) & (outcome.arrival < until)
    assert came.sum() >= 60, "too few to tell"
    return float((outcome.replica[came] == replica).mean())


def longest_run(outcome: Outcome) -> int:
    """How many requests in a row went to the same replica."""
    chosen = outcome.replica[np.argsort(outcome.arrival, kind="stable")]
    edges = np.flatnonzero(np.diff(chosen))
    return int(np.diff(np.concatenate([[-1], edges, [len(chosen) - 1]])).max())
