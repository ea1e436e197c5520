"""Prompts computed on one engine and decoded on another, in virtual time and round numbers.

10 ms a step, 1 ms a prompt token, 1 µs a decoding sequence; a transfer takes 5 ms and 1 ms a token.
"""

from dataclasses import replace

import pytest

from bench.simulator.config import EngineConfig, TransferConfig
from bench.simulator.engine import Engine, StepOutcome
from bench.simulator.sequence import Phase, Sequence

CONFIG = EngineConfig(
    block_size=4,
    num_blocks=100,
    max_num_seqs=8,
    max_num_batched_tokens=64,
    fixed_s=0.010,
    prefill_token_s=0.001,
    decode_sequence_s=0.000_001,
    cached_token_s=0.0,
)
TRANSFER = TransferConfig(bytes_per_token=1, bandwidth=1000.0, latency_s=0.005)


def engine(**changes: object) -> Engine:
    return Engine(replace(CONFIG, **changes))  # type: ignore[arg-type]


def hashes(content: int, tokens: int) -> list[int]:
    return [content * 1000 + i for i in range(tokens // 4)]


def fetched(length: int, output: int = 2, *, content: int = 1) -> Sequence:
    """A sequence whose prompt comes from elsewhere."""
    return Sequence(length, output, hashes(content, length + output), fetch=True)


def kept(length: int, output: int = 1, *, content: int = 1) -> Sequence:
    """A sequence whose blocks another engine wants."""
    return Sequence(length, output, hashes(content, length + output), keep=True)


def run(simulated: Engine, now: float = 0.0) -> tuple[float, list[StepOutcome]]:
    """Step until nothing is left to do, with transfers that work; returns the end and all outcomes."""
    outcomes: list[StepOutcome] = []
    coming: list[tuple[float, Sequence]] = []
    while simulated.busy or coming:
        if not simulated.busy:
            now = max(now, min(end for end, _ in coming))
        for end, sequence in list(coming):
            if end <= now:
                coming.remove((end, sequence))
                simulated.fetched(sequence)
        outcome = simulated.step(now)
        outcomes.append(outcome)
        coming += [(now + TRANSFER.seconds(each.external), each) for each in outcome.fetching]
        now += outcome.duration
    return now, outcomes


def test_the_first_token_comes_after_the_transfer_and_one_step_for_one_token() -> None:
    simulated, sequence = engine(), fetched(40)
    simulated.submit(sequence, 1.0)
    run(simulated, 1.0)
    assert sequence.first_token == pytest.approx(1.0 + 0.005 + 0.040 + 0.010 + 0.001)
    assert (sequence.external, sequence.cached, sequence.computed) == (40, 0, 0)


def test_what_the_own_cache_has_is_not_fetched() -> None:
    simulated = engine()
    simulated.submit(Sequence(32, 1, hashes(1, 33)), 0.0)
    run(simulated)
    sequence = fetched(40)
    simulated.submit(sequence, 1.0)
    run(simulated, 1.0)
    assert (sequence.cached, sequence.external) == (32, 8)
    assert sequence.first_token == pytest.approx(1.0 + 0.005 + 0.008 + 0.011)
    assert (simulated.prefix_queries, simulated.prefix_hits) == (72, 32)
    assert (simulated.transfers.queries, simulated.transfers.hits) == (32 + 8, 8)


def test_while_it_waits_it_holds_blocks_and_nobody_has_work() -> None:
    simulated, sequence = engine(), fetched(40)
    simulated.submit(sequence, 0.0)
    outcome = simulated.step(0.0)
    assert (outcome.duration, outcome.fetching, outcome.started) == (0.0, [sequence], [])
    assert (simulated.running, simulated.waiting, simulated.busy) == (0, 1, False)
    assert simulated.cache.free == 90
    assert sequence.phase is Phase.FETCHING


def test_fetched_blocks_are_known_to_the_next_prompt_only_once_they_are_there() -> None:
    simulated, first, early, late = engine(), fetched(40), Sequence(40, 1, hashes(1, 41)), fetched(40)
    simulated.submit(first, 0.0)
    simulated.step(0.0)
    simulated.submit(early, 0.0)
    simulated.step(0.0)
    simulated.fetched(first)
    simulated.submit(late, 0.0)
    run(simulated)
    assert (early.cached, late.cached, late.external) == (0, 36, 4)


def test_a_prompt_that_is_fetched_takes_no_place_in_the_batch() -> None:
    simulated, waiting, other = engine(max_num_seqs=1), fetched(40), Sequence(8, 4)
    simulated.submit(waiting, 0.0)
    simulated.submit(other, 0.0)
    outcome = simulated.step(0.0)
    assert (outcome.fetching, outcome.started) == ([waiting], [other])
    simulated.fetched(waiting)
    assert simulated.step(0.0).started == []
    _, outcomes = run(simulated)
    assert [each for outcome in outcomes for each in outcome.started] == [waiting]


def test_fetched_prompts_go_before_the_queue_which_may_have_no_room() -> None:
    simulated, waiting, large = engine(num_blocks=20), fetched(40), Sequence(60, 1)
    simulated.submit(waiting, 0.0)
    simulated.submit(large, 0.0)
    simulated.step(0.0)
    assert not simulated.step(0.0).started
    assert not simulated.busy
    simulated.fetched(waiting)
    _, outcomes = run(simulated)
    assert [each for outcome in outcomes for each in outcome.started] == [waiting, large]


def test_finished_blocks_are_kept_until_released() -> None:
    simulated, sequence = engine(), kept(38)
    simulated.submit(sequence, 0.0)
    run(simulated)
    assert sequence.phase is Phase.FINISHED
    assert (simulated.cache.free, sequence.blocks) == (90, 10)
    assert simulated.cache.usage == pytest.approx(0.1)
    assert not simulated.cache.clear()
    assert simulated.release(sequence)
    assert not simulated.release(sequence)
    assert simulated.cache.free == 100
    assert simulated.cache.idle == 9


def test_kept_blocks_make_others_wait_and_their_release_lets_them_go() -> None:
    simulated, first, second = engine(num_blocks=10), kept(38), Sequence(20, 1, hashes(2, 21))
    simulated.submit(first, 0.0)
    run(simulated)
    simulated.submit(second, 1.0)
    assert simulated.step(1.0).duration == 0.0
    assert (simulated.waiting, simulated.busy) == (1, False)
    simulated.release(first)
    assert simulated.busy
    run(simulated, 2.0)
    assert second.first_token == pytest.approx(2.030)


def test_a_kept_sequence_that_is_aborted_keeps_nothing() -> None:
    simulated, sequence = engine(), kept(100)
    simulated.submit(sequence, 0.0)
    simulated.step(0.0)
    assert simulated.abort(sequence)
    assert (simulated.cache.free, simulated.release(sequence)) == (100, False)


@pytest.mark.parametrize("ready", [False, True])
def test_an_abort_while_it_waits_frees_its_blocks(ready: bool) -> None:
    simulated, sequence = engine(), fetched(40)
    simulated.submit(sequence, 0.0)
    simulated.step(0.0)
    if ready:
        simulated.fetched(sequence)
    assert simulated.abort(sequence)
    assert not simulated.fetched(sequence)
    assert not simulated.fetch_failed(sequence, recompute=True)
    assert (simulated.cache.free, simulated.waiting, simulated.busy) == (100, 0, False)


def test_an_abort_before_there_was_room_asks_for_nothing() -> None:
    simulated, sequence = engine(), fetched(40)
    simulated.submit(sequence, 0.0)
    assert simulated.abort(sequence)
    assert simulated.step(0.0).fetching == []
    assert simulated.transfers.hits == 0


def test_a_failed_fetch_ends_its_sequence() -> None:
    simulated, sequence = engine(), fetched(40)
    simulated.submit(sequence, 0.0)
    simulated.step(0.0)
    assert simulated.fetch_failed(sequence, recompute=False)
    assert sequence.phase is Phase.FAILED
    assert (simulated.cache.free, simulated.waiting, simulated.busy) == (100, 0, False)
    assert not simulated.abort(sequence)


def test_a_failed_fetch_may_be_computed_here_instead() -> None:
    simulated, sequence, later = engine(), fetched(40), Sequence(40, 1, hashes(2, 41))
    simulated.submit(sequence, 0.0)
    simulated.step(0.0)
    simulated.submit(later, 0.0)
    assert simulated.fetch_failed(sequence, recompute=True)
    _, outcomes = run(simulated, 1.0)
    # It came first, so it is computed first: 40 of the 64 tokens of that step are its own.
    assert outcomes[0].started == [sequence]
    assert sequence.first_token == pytest.approx(1.0 + 0.010 + 0.064)
    assert (sequence.external, sequence.cached) == (0, 0)
    assert simulated.prefix_queries == 80


def test_what_runs_is_preempted_for_want_of_blocks_and_not_what_waits() -> None:
    simulated, old, waiting = engine(num_blocks=6), Sequence(8, 9, hashes(1, 17)), fetched(12, 3, content=2)
    simulated.submit(old, 0.0)
    simulated.submit(waiting, 0.0)
    preempted = []
    for _ in range(8):
        preempted += simulated.step(0.0).preempted
    assert (preempted, waiting.phase) == ([old], Phase.FETCHING)
    assert (simulated.waiting, simulated.busy) == (2, False)
    simulated.fetched(waiting)
    run(simulated)
    assert (old.phase, waiting.phase) == (Phase.FINISHED, Phase.FINISHED)
    assert simulated.cache.free == 6


def test_a_preempted_sequence_that_was_fetched_is_computed_here() -> None:
    simulated, old, young = engine(num_blocks=6), Sequence(8, 9, hashes(1, 17)), fetched(8, 9, content=2)
    simulated.submit(old, 0.0)
    simulated.submit(young, 0.0)
    _, outcomes = run(simulated)
    assert [each for outcome in outcomes for each in outcome.preempted] == [young]
    assert sum(young in outcome.fetching for outcome in outcomes) == 1
    assert simulated.transfers.hits == 8


def test_adapters_of_waiting_prompts_are_told() -> None:
    simulated = engine()
    simulated.submit(Sequence(40, 2, adapter="a", fetch=True), 0.0)
    simulated.step(0.0)
    assert simulated.adapters() == ([], ["a"])


def pauses(simulated: Engine, *, elsewhere: bool) -> list[float]:
    """Times between tokens of eight chats while a long prompt arrives every quarter of a second."""
    chats = [Sequence(64, 2000, hashes(9 + i, 64)) for i in range(8)]
    for chat in chats:
        simulated.submit(chat, 0.0)
    now, found, coming, arrived = 0.0, [], list[tuple[float, Sequence]](), 0
    while now < 10.0:
        if arrived * 0.25 <= now:
            arrived += 1
            long = Sequence(4000, 50, hashes(100 + arrived, 4000), fetch=elsewhere)
            simulated.submit(long, now)
        for end, sequence in [each for each in coming if each[0] <= now]:
            coming.remove((end, sequence))
            simulated.fetched(sequence)
        outcome = simulated.step(now)
        coming += [(now + TransferConfig().seconds(each.external), each) for each in outcome.fetching]
        if chats[0] in outcome.decoded:
            found.append(outcome.duration)
        now += outcome.duration
    return found


def test_long_prompts_stretch_the_pauses_of_chats_only_where_they_are_computed() -> None:
    mixed, decode = (
        pauses(Engine(EngineConfig()), elsewhere=False),
        pauses(Engine(EngineConfig()), elsewhere=True),
    )
    assert max(mixed) > 0.2
    assert max(decode) < 0.02
    assert len(decode) > 1.5 * len(mixed)
