"""Each rule by cases in which it has to choose one way, and one in which it must not."""

from random import Random

import pytest

from bench.fleet import text
from bench.fleet.baselines import Baseline, LeastRequest, RoundRobin
from bench.fleet.policy import World
from bench.fleet.replica import Job, Replica
from bench.fleet.rivals import CacheAware, Dynamo, Mooncake
from bench.fleet.traffic import Request, Workload
from bench.simulator.sequence import Sequence
from endpoint_picker.core.errors import ServiceUnavailable
from tests.fakes.virtual import BLOCK, ENGINE, request


class Stage:
    """Three replicas and one policy; requests are numbered as they come."""

    def __init__(self, maker: type[Baseline]) -> None:
        self.replicas = [Replica(number, ENGINE, horizon=1.0) for number in range(3)]
        self.policy = maker(World(self.replicas, BLOCK), Random(1))
        self.policy.members([0, 1, 2])
        self._number = 0

    def request(self, prompt: int, *, first: int) -> Request:
        self._number += 1
        made = request(prompt, 1, first=first)
        return Workload.of("one", [[made] * (self._number + 1)], BLOCK).sessions[0][self._number]

    def hold(self, replica: int, asked: Request) -> None:
        """Let a replica have computed a prompt."""
        where = self.replicas[replica]
        sequence = Sequence(asked.prompt_tokens, 1, text.hashes(asked, BLOCK, ENGINE.block_size))
        where.submit(Job(asked, sequence, picker=0), 0.0)
        while where.next is not None:
            where.proceed()

    def choose(self, prompt: int, *, first: int) -> int:
        return self.policy.choose(self.request(prompt, first=first))

    def load(self, replica: int, count: int, prompt: int = 16) -> list[Request]:
        """Give one replica so many requests, whatever the policy would have chosen."""
        asked = [self.request(prompt, first=1_000_000 * (self._number + 1)) for _ in range(count)]
        self.policy.members([replica])
        for each in asked:
            self.policy.choose(each)
        self.policy.members([0, 1, 2])
        return asked


def test_round_robin_goes_round() -> None:
    stage = Stage(RoundRobin)
    chosen = [stage.choose(10, first=0) for _ in range(6)]
    assert sorted(chosen[:3]) == [0, 1, 2]
    assert chosen[:3] == chosen[3:]


def test_least_request_counts_what_is_in_flight() -> None:
    stage = Stage(LeastRequest)
    stage.load(0, 2)
    asked = stage.load(1, 3)
    stage.load(2, 1)
    assert stage.choose(10, first=0) == 2
    for each in asked:
        stage.policy.end(each, Sequence(1, 1))
    assert stage.choose(10, first=0) == 1


@pytest.mark.parametrize("maker", [RoundRobin, LeastRequest, Dynamo, CacheAware, Mooncake])
def test_without_replicas_requests_are_refused(maker: type[Baseline]) -> None:
    stage = Stage(maker)
    stage.policy.members([])
    with pytest.raises(ServiceUnavailable):
        stage.choose(10, first=0)


@pytest.mark.parametrize("maker", [RoundRobin, LeastRequest, Dynamo, CacheAware, Mooncake])
def test_nothing_is_left_of_requests_that_have_ended_or_failed(maker: type[Baseline]) -> None:
    stage = Stage(maker)
    for how in range(40):
        asked = stage.request(160, first=how * 1000)
        stage.policy.choose(asked)
        if how % 2:
            stage.policy.first_token(asked)
        if how % 3:
            stage.policy.end(asked, Sequence(1, 1))
        else:
            stage.policy.failed(asked, 503)
    assert not any(stage.policy.in_flight.values())
    if isinstance(stage.policy, Dynamo):
        assert not any(stage.policy.outstanding.values())
        assert not any(stage.policy.active)
    if isinstance(stage.policy, Mooncake):
        assert not any(stage.policy.queued)


@pytest.mark.parametrize("maker", [Dynamo, Mooncake])
def test_who_knows_the_caches_goes_where_the_prompt_is_held(maker: type[Baseline]) -> None:
    stage = Stage(maker)
    stage.hold(1, stage.request(1600, first=0))
    assert stage.choose(1600, first=0) == 1


def test_dynamo_leaves_a_cache_for_which_too_much_waits() -> None:
    stage = Stage(Dynamo)
    stage.hold(1, stage.request(1600, first=0))
    asked = stage.load(1, 1, prompt=1500)
    # 1,500 tokens wait there, and their blocks are held: twice 94 blocks against the 99 that are cached.
    assert stage.choose(1600, first=0) != 1
    stage.policy.first_token(asked[0])
    assert stage.choose(1600, first=0) == 1


def test_dynamo_counts_shared_blocks_once() -> None:
    stage = Stage(Dynamo)
    for replica in (0, 1):
        (asked,) = stage.load(replica, 1, prompt=800)
        stage.policy.first_token(asked)
    stage.policy.members([1, 2])
    first = asked.blocks[0]
    # On 1 all 50 blocks are held by another request; on 2 nothing is: equal prefill, more blocks than none.
    assert stage.choose(800, first=first) in (1, 2)
    stage.hold(1, stage.request(800, first=first))
    assert stage.choose(800, first=first) == 1


def test_sglang_sticks_to_its_tree_above_the_threshold() -> None:
    stage = Stage(CacheAware)
    where = stage.choose(1600, first=0)
    stage.load(where, 30)
    assert stage.choose(1600, first=0) == where
    # A fourth of this prompt is known: less than the threshold, so the shortest queue counts.
    partly = Request(6400, 1, (*range(100), *range(5000, 5300)), number=500)
    assert stage.policy.choose(partly) != where


def test_sglang_balances_when_queues_differ_too_much() -> None:
    stage = Stage(CacheAware)
    where = stage.choose(1600, first=0)
    stage.load(where, 70)
    assert stage.choose(1600, first=0) != where


def test_sglang_forgets_what_no_longer_fits_into_its_tree() -> None:
    class Small(CacheAware):
        CHARACTERS = 4 * BLOCK * 150

    stage = Stage(Small)
    where = stage.choose(1600, first=0)
    stage.load(where, 5, prompt=1600)
    assert stage.choose(1600, first=0) != where


def test_mooncake_adds_what_waits_in_seconds() -> None:
    stage = Stage(Mooncake)
    stage.hold(1, stage.request(1600, first=0))
    stage.load(1, 1, prompt=1500)
    waits = stage.load(1, 1, prompt=1500)
    assert stage.choose(1600, first=0) != 1
    for each in waits:
        stage.policy.first_token(each)
    stage.load(0, 2, prompt=1500)
    stage.load(2, 2, prompt=1500)
    assert stage.choose(1600, first=0) == 1


def test_mooncake_knows_how_fast_each_engine_is() -> None:
    stage = Stage(Mooncake)
    stage.replicas[0].slow(3.0, 0.0)
    stage.replicas[2].slow(3.0, 0.0)
    assert stage.choose(1600, first=0) == 1
