"""Beside other scorers: what users weigh in counts, and load is not forgotten for it."""

from itertools import islice
from random import Random

import numpy as np

from bench.fleet.outcome import Outcome
from bench.fleet.traffic import Request, Workload
from bench.fleet.workloads.making import BLOCK, Ids, poisson
from tests.fakes.crowds import alike, beside, crowd, play

ADAPTERS = [f"adapter-{number}" for number in range(8)]
LORA = "{type: lora-affinity-scorer}"
SESSION = """
    type: session-affinity-scorer
    parameters: {strategy: session_id, sessionIdConfig: {sources: [{header: x-session-id}]}}
"""


def places(outcome: Outcome, labels: list[str]) -> float:
    """On how many replicas those with the same label are, on average."""
    found: dict[str, set[int]] = {}
    for label, replica in zip(labels, outcome.replica.tolist(), strict=True):
        found.setdefault(label, set()).add(replica)
    return float(np.mean([len(each) for each in found.values()]))


def test_adapters_gather_where_they_are_loaded() -> None:
    """Four replicas have room for four adapters each: all eight everywhere means to wait for a place."""
    what = crowd(16.0, 400, question=500, answer=200, adapters=ADAPTERS)
    adapters = [each.adapter for each in what]
    alone, weighed = play(alike(4), what), play(alike(4), what, beside(LORA, weight=2.0))
    assert places(alone, adapters) > 3.5
    assert places(weighed, adapters) < 2.5
    assert weighed.summary().ttft_p90 < 0.25 * alone.summary().ttft_p90
    assert weighed.summary().balance < 1.3


def test_sessions_stay_where_they_are() -> None:
    """Nothing of what they say is in a cache: only the scorer holds them together."""
    what = strangers(sessions=60, turns=6)
    names = [each.session for each in what]
    alone, weighed = play(alike(4), what), play(alike(4), what, beside(SESSION, weight=1.0))
    assert places(alone, names) > 2.5
    assert places(weighed, names) < 1.3
    assert weighed.summary().balance < 1.5


def strangers(*, sessions: int, turns: int) -> Workload:
    """Sessions whose prompts have nothing in common."""
    rng, ids = Random(1), Ids()
    made = [
        [
            Request(800, 30, ids.take(800), arrival=time, think=1.0 * bool(turn), session=f"session-{number}")
            for turn in range(turns)
        ]
        for number, time in enumerate(islice(poisson(rng, 6.0), sessions))
    ]
    return Workload.of("strangers", made, BLOCK)
