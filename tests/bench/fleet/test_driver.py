import os
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from bench.fleet.driver import Run
from bench.fleet.fleet import Fleet, Incident, slowed
from bench.fleet.outcome import Fate, Outcome
from bench.fleet.picker import Picker
from bench.fleet.policy import PolicySpec
from bench.fleet.roster import find, names
from bench.fleet.traffic import Workload
from tests.fakes.virtual import BLOCK, ENGINE, fleet, request, run, singles, stream

ALL = names()


def same(one: Outcome, other: Outcome) -> bool:
    return all(
        np.array_equal(getattr(one, each.name), getattr(other, each.name), equal_nan=True)
        if isinstance(getattr(one, each.name), np.ndarray)
        else getattr(one, each.name) == getattr(other, each.name)
        for each in fields(one)
    )


def crowd(count: int = 120) -> Workload:
    """Some begin alike; about as much as three engines can do."""
    requests = [
        request(200 + number * 37 % 500, 10 + number % 30, at=number * 0.02, first=number % 7 * 10_000)
        for number in range(count)
    ]
    return singles(*requests)


@pytest.mark.parametrize("policy", ALL)
def test_every_policy_serves_everybody_and_leaves_nothing_behind(policy: str) -> None:
    play = Run(fleet(3), crowd(), find(policy), seed=1)
    play.play()
    outcome = play.notes.outcome(policy, play.replicas)
    assert (outcome.fate == Fate.SERVED).all()
    assert set(outcome.replica.tolist()) <= {0, 1, 2}
    for replica in play.replicas:
        assert replica.next is None
        assert not replica.jobs
        assert replica.engine.cache.free == ENGINE.num_blocks
    for picker in play.pickers:
        if isinstance(picker, Picker):
            table = picker.table
            for column in (table.in_flight, table.in_flight_tokens, table.prefill_tokens):
                assert not column.any()


@pytest.mark.parametrize("policy", ALL)
def test_the_same_seed_gives_the_same_outcome_to_the_last_digit(policy: str) -> None:
    where = fleet(4, replace(ENGINE, jitter=0.1), pickers=2, scrape_interval=0.3)
    assert same(run(where, crowd(), policy, seed=5), run(where, crowd(), policy, seed=5))


def test_so_it_does_in_another_process() -> None:
    program = (
        "from tests.fakes.virtual import *\n"
        "what = singles(*stream(60, every=0.01))\n"
        "print(run(fleet(4, pickers=2), what, 'random').summary())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_other_seeds_give_other_outcomes() -> None:
    outcomes = [run(fleet(4), crowd(), "random", seed=seed) for seed in (1, 2)]
    assert (outcomes[0].replica != outcomes[1].replica).any()


def test_cached_tokens_are_those_that_had_been_there() -> None:
    """The blocks of earlier prompts that went to the same replica, counted by hand; nothing is evicted."""
    requests = [request(100 + 16 * (n % 9), 1, at=float(n), first=n % 3 * 1000) for n in range(30)]
    outcome = run(fleet(3, replace(ENGINE, num_blocks=4000)), singles(*requests), "random")
    held: list[set[int]] = [set() for _ in range(3)]
    for each, replica, cached in zip(requests, outcome.replica, outcome.cached_tokens, strict=True):
        full = each.blocks[: each.prompt_tokens // BLOCK]
        most = (each.prompt_tokens - 1) // BLOCK
        expected = next(
            (n for n, block in enumerate(full[:most]) if block not in held[replica]), len(full[:most])
        )
        assert cached == expected * BLOCK
        held[replica].update(full)
    assert outcome.cached_tokens.any()
    rate = outcome.cached_tokens.sum() / outcome.prompt_tokens.sum()
    assert outcome.summary().hit_rate == pytest.approx(rate)


def test_the_next_question_comes_a_while_after_the_answer() -> None:
    talk = [
        request(100, 20, at=1.0),
        request(200, 30, think=2.0),
        request(300, 10, think=0.5),
    ]
    other = [request(64, 400, at=1.01, first=5000)]
    outcome = run(fleet(1), Workload.of("test", [talk, other], BLOCK))
    ends = outcome.arrival + outcome.ttft + outcome.tpot * (outcome.output_tokens - 1)
    np.testing.assert_allclose(outcome.arrival[1:3], ends[:2] + np.array([2.0, 0.5]), rtol=1e-9)
    # What was said before, the answers with it, is still there.
    assert outcome.cached_tokens[1:3].tolist() == [112, 224]


def test_a_conversation_goes_on_after_a_refusal() -> None:
    where = fleet(1, incidents=(Incident(0.5, 0, "dies"), Incident(9.0, 0, "joins")), detection=0.0)
    talk = [request(100, 2, at=1.0), request(200, 2, think=2.0), request(300, 2, think=7.0)]
    outcome = run(where, Workload.of("test", [talk], BLOCK))
    assert outcome.fate.tolist() == [Fate.REFUSED, Fate.REFUSED, Fate.SERVED]
    assert outcome.arrival.tolist() == [1.0, 3.0, 10.0]


# === what goes wrong ===


def test_a_prompt_larger_than_the_cache_fails_and_hurts_nobody() -> None:
    outcome = run(fleet(1), singles(request(9000, 1), request(100, 1, at=0.1, first=90_000)), "default")
    assert outcome.fate.tolist() == [Fate.FAILED, Fate.SERVED]
    assert np.isnan(outcome.ttft[0])


@pytest.mark.parametrize("policy", ["round-robin", "default"])
def test_a_dead_replica_fails_its_requests_until_it_is_missed(policy: str) -> None:
    where = fleet(2, incidents=(Incident(1.0, 1, "dies"),), detection=1.0)
    outcome = run(where, singles(*stream(300, every=0.01, output=30)), policy)
    failed = outcome.fate == Fate.FAILED
    assert failed.any()
    assert set(outcome.replica[failed]) == {1}
    begun = failed & ~np.isnan(outcome.ttft)
    assert begun.any(), "some had got tokens already"
    assert (outcome.arrival[failed] < 2.0).all()
    after = outcome.arrival > 2.0
    assert set(outcome.replica[after]) == {0}
    assert (outcome.fate[after] == Fate.SERVED).all()


def test_who_only_fails_is_left_alone_before_it_is_missed() -> None:
    """The picker's own judgement: the answers of the dead one's address are failures."""
    where = fleet(2, incidents=(Incident(1.0, 1, "dies"),), detection=100.0)
    what = singles(*stream(300, every=0.01))
    ours, none = run(where, what, "default"), run(where, what, "round-robin")
    assert none.summary().failed > 0.3
    assert ours.summary().failed < 0.1


def test_when_all_are_gone_requests_are_refused() -> None:
    where = fleet(1, incidents=(Incident(1.0, 0, "dies"),), detection=0.5)
    for policy in ("round-robin", "default"):
        outcome = run(where, singles(*stream(40, every=0.1)), policy)
        late = outcome.arrival > 1.5
        assert (outcome.fate[late] == Fate.REFUSED).all()
        assert (outcome.replica[late] == -1).all()
        assert outcome.summary().refused == pytest.approx(late.mean())
        assert outcome.summary().goodput <= (outcome.fate == Fate.SERVED).mean()


def test_a_replica_that_joins_is_empty_and_gets_requests() -> None:
    where = fleet(2, incidents=(Incident(2.0, 1, "joins"),))
    outcome = run(where, singles(*stream(300, every=0.01)), "default")
    used = {int(n): outcome.arrival[outcome.replica == n].min() for n in set(outcome.replica)}
    assert used[0] == 0.0
    assert 2.0 <= used[1] < 2.5


def test_one_that_comes_back_has_forgotten_everything() -> None:
    where = fleet(1, incidents=(Incident(2.0, 0, "dies"), Incident(3.0, 0, "joins")))
    requests = [request(160, 2, at=at) for at in (0.0, 1.0, 4.0, 5.0)]
    outcome = run(where, singles(*requests), "default")
    assert outcome.cached_tokens.tolist() == [0, 144, 0, 144]


def test_a_slow_replica_is_slow_from_then_on() -> None:
    where = fleet(1, incidents=(Incident(1.0, 0, "slows", 3.0), Incident(5.0, 0, "slows", 1.0)))
    requests = [request(256, 40, at=at, first=int(at) * 1000) for at in (0.0, 2.0, 6.0)]
    outcome = run(where, singles(*requests))
    assert outcome.ttft[1] == pytest.approx(3.0 * outcome.ttft[0])
    assert outcome.tpot[1] == pytest.approx(3.0 * outcome.tpot[0])
    assert outcome.ttft[2] == pytest.approx(outcome.ttft[0])


def test_one_that_slows_in_the_midst_of_an_answer_slows_the_rest_of_it() -> None:
    where = fleet(1, incidents=(Incident(0.5, 0, "slows", 4.0),))
    outcome = run(where, singles(request(65, 100)))
    usual = ENGINE.fixed_s + ENGINE.decode_sequence_s
    assert outcome.longest_gap[0] == pytest.approx(4.0 * usual, rel=0.01)
    assert usual < outcome.tpot[0] < 4.0 * usual
    busy = outcome.ttft[0] + 99 * outcome.tpot[0]
    assert outcome.busy[0] == pytest.approx(busy)


# === several pickers ===


def test_each_picker_knows_what_it_has_sent_itself() -> None:
    play = Run(fleet(2, pickers=3), singles(*stream(90, every=0.001, output=200)), find("default"), seed=1)
    seen: Counter[int] = Counter()
    for number, picker in enumerate(play.pickers):
        assert isinstance(picker, Picker)
        choose = picker.choose

        def counted(
            one: object, number: int = number, picker: Picker = picker, choose: object = choose
        ) -> int:
            assert picker.table.in_flight.sum() == seen[number]
            seen[number] += 1
            return choose(one)  # type: ignore[operator, no-any-return]

        picker.choose = counted  # type: ignore[method-assign, assignment]
    play.play()
    assert sum(seen.values()) == 90
    assert min(seen.values()) > 15


# === what fleets are ===


def test_a_fleet_says_what_is_wrong_with_it() -> None:
    for wrong in (
        {"pickers": 0},
        {"wrong_blocks": 1.5},
        {"scrape_interval": -1.0},
        {"incidents": (Incident(1.0, 7, "dies"),)},
    ):
        with pytest.raises(ValueError, match=r"pickers|wrong_blocks|interval|replica 7"):
            fleet(2, **wrong)
    with pytest.raises(ValueError, match="more than 0"):
        Incident(1.0, 0, "slows", 0.0)


def test_blocks_of_engines_must_fit_into_those_of_ids() -> None:
    with pytest.raises(ValueError, match="blocks of 24 tokens; it must divide the 16"):
        run(fleet(1, replace(ENGINE, block_size=24)), crowd(1))


def test_a_fleet_at_half_the_speed_takes_twice_as_long() -> None:
    usual = run(fleet(2), crowd(20))
    slow = run(Fleet(name="slow", engines=(slowed(ENGINE, 2.0),) * 2), crowd(1))
    assert slow.ttft[0] == pytest.approx(2.0 * usual.ttft[0])


def test_the_policy_is_named_in_the_outcome() -> None:
    spec = PolicySpec("mine", config=find("random").config)
    assert run(fleet(2), crowd(3), spec).policy == "mine"
