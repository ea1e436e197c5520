"""What is heard of caches is what they held, a while ago."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fleet import text
from bench.fleet.policy import World
from bench.fleet.replica import Job, Replica
from bench.fleet.rivals import Dynamo
from bench.fleet.traffic import Request, Workload
from bench.simulator.blocks import Change
from bench.simulator.config import EngineConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Sequence
from tests.fakes.virtual import BLOCK, ENGINE, fleet, request, run, singles

SMALL = EngineConfig(block_size=4, num_blocks=24, max_num_seqs=5, max_num_batched_tokens=20)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 3)), min_size=1, max_size=12)
)
@settings(max_examples=100, deadline=None)
def test_what_is_told_adds_up_to_what_is_there(plan: list[tuple[int, int, int]]) -> None:
    engine, held = Engine(SMALL), set[int]()

    def tell(change: Change, key: int) -> None:
        if change is Change.CLEARED:
            held.clear()
            return
        assert (key in held) == (change is Change.REMOVED), "nothing is told twice"
        held.symmetric_difference_update({key})

    engine.cache.watcher = tell
    keys = {content * 1000 + place for _, _, content in plan for place in range(30)}
    for prompt, output, content in plan:
        hashes = [content * 1000 + place for place in range((prompt + output) // 4)]
        engine.submit(Sequence(prompt, output, hashes), 0.0)
        engine.step(0.0)
        assert {key for key in keys if engine.cache.match([key])} == held
    while engine.busy:
        engine.step(0.0)
        assert {key for key in keys if engine.cache.match([key])} == held
    assert engine.cache.clear()
    assert not held


@pytest.mark.parametrize("delay", [0.0, 0.7])
def test_a_world_knows_what_was_there_a_while_ago(delay: float) -> None:
    """Three prompts, of which the last one drives the first out of the cache."""
    replicas = [Replica(0, ENGINE, horizon=1.0)]
    world = World(replicas, BLOCK, delay)
    prompts = [text.hashes(request(2500, 1, first=first), BLOCK, BLOCK) for first in (0, 1000, 2000)]

    def known(at: float) -> list[int]:
        world.now = at
        return [world.cached(0, prompt) for prompt in prompts]

    truth = []
    for number, prompt in enumerate(prompts):
        world.now = now = number * 5.0
        replicas[0].submit(Job(request(2500, 1), Sequence(2500, 1, prompt), picker=0), now)
        while replicas[0].next is not None:
            world.now = replicas[0].next
            replicas[0].proceed()
        truth.append([replicas[0].engine.cache.match(each) for each in prompts])
        if delay:
            assert known(now + delay - 0.01) == (truth[-2] if number else [0, 0, 0])
        assert known(now + 1.0 + delay) == truth[-1]
    full = 2500 // BLOCK
    assert truth == [[full, 0, 0], [full, full, 0], [87, full, full]]


def test_nobody_listens_unless_somebody_wants_to_know() -> None:
    replica = Replica(0, ENGINE, horizon=1.0)
    world = World([replica], BLOCK)
    assert replica.engine.cache.watcher is None
    told: list[tuple[int, Change, int]] = []
    world.events.subscribe(lambda *what: told.append(what))
    replica.submit(Job(request(32, 1), Sequence(32, 1, [7, 8]), picker=0), 0.0)
    world.events.catch_up()
    assert told == [(0, Change.STORED, 7), (0, Change.STORED, 8)]


def test_one_that_comes_back_is_known_to_be_empty() -> None:
    replica = Replica(0, ENGINE, horizon=1.0)
    world = World([replica], BLOCK, 0.5)
    compute(replica, request(160, 1))
    world.now = 2.0
    assert world.cached(0, range(10)) == 10
    replica.die(2.0)
    replica.revive(2.0)
    world.now = 2.4
    assert world.cached(0, range(10)) == 10
    compute(replica, request(160, 1, first=50))
    world.now = 2.9
    assert (world.cached(0, range(10)), world.cached(0, range(50, 60))) == (0, 10)


def test_events_that_come_at_once_are_the_truth() -> None:
    requests = [request(200 + n * 37 % 900, 20, at=n * 0.02, first=n % 7 * 10_000) for n in range(150)]
    at_once, soon, late = (
        run(fleet(3, event_delay=delay), singles(*requests), "dynamo") for delay in (0.0, 1e-9, 2.0)
    )
    np.testing.assert_array_equal(at_once.replica, soon.replica)
    np.testing.assert_array_equal(at_once.ttft, soon.ttft)
    assert at_once.summary().hit_rate > late.summary().hit_rate + 0.05


def test_who_is_fed_by_events_does_not_know_what_they_have_not_told() -> None:
    replicas = [Replica(number, ENGINE, horizon=1.0) for number in range(2)]
    world = World(replicas, BLOCK, 1.0)
    asked = Workload.of("test", [[request(1600, 1)] * 12], BLOCK).sessions[0]
    compute(replicas[1], asked[0])
    for now, expected in ((0.9, {0, 1}), (1.1, {1})):
        world.now = now
        chosen = set()
        for seed in range(12):
            policy = Dynamo(world, Random(seed))
            policy.members([0, 1])
            chosen.add(policy.choose(asked[seed]))
        assert chosen == expected


def compute(replica: Replica, asked: Request) -> None:
    sequence = Sequence(asked.prompt_tokens, 1, text.hashes(asked, BLOCK, BLOCK))
    replica.submit(Job(asked, sequence, picker=0), 0.0)
    while replica.next is not None:
        replica.proceed()
