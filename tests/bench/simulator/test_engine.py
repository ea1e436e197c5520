"""The engine in round numbers: 10 ms a step, 1 ms a prompt token, 1 µs a decoding sequence."""

from dataclasses import replace

import pytest

from bench.simulator.config import EngineConfig
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


def engine(**changes: object) -> Engine:
    return Engine(replace(CONFIG, **changes))  # type: ignore[arg-type]


def prompt(length: int, output: int = 1, *, content: int = 1, adapter: str = "") -> Sequence:
    """A sequence whose blocks are those of every other one with the same content."""
    return Sequence(length, output, [content * 1000 + i for i in range((length + output) // 4)], adapter)


def run(simulated: Engine, now: float = 0.0) -> tuple[float, list[StepOutcome]]:
    """Step until idle; returns the time of the end and all outcomes."""
    outcomes = []
    while simulated.busy:
        outcomes.append(simulated.step(now))
        now += outcomes[-1].duration
    return now, outcomes


def test_an_idle_replica_answers_after_one_step_with_the_whole_prompt() -> None:
    simulated, sequence = engine(), prompt(40)
    simulated.submit(sequence, 1.0)
    run(simulated, 1.0)
    assert sequence.first_token == pytest.approx(1.0 + 0.010 + 0.040)


def test_a_decoding_sequence_gains_one_token_per_step() -> None:
    simulated, sequence = engine(), prompt(8, 5)
    simulated.submit(sequence, 0.0)
    now, outcomes = run(simulated)
    assert [len(outcome.decoded) for outcome in outcomes] == [0, 1, 1, 1, 1]
    assert outcomes[-1].finished == [sequence]
    assert now == pytest.approx(0.018 + 4 * 0.010_001)


def test_a_step_reads_the_cached_tokens_of_its_batch() -> None:
    simulated = engine(cached_token_s=0.001, decode_sequence_s=0.0, prefill_token_s=0.0)
    for length in (8, 12):
        simulated.submit(prompt(length, 4, content=length), 0.0)
    _, outcomes = run(simulated)
    # Nothing is cached before the prompts; then both prompts are, and each grows by one token a step.
    assert [outcome.duration for outcome in outcomes] == pytest.approx([0.010, 0.030, 0.032, 0.034])


def test_two_prompts_share_the_budget_in_the_order_of_arrival() -> None:
    simulated, first, second = engine(), prompt(50, content=1), prompt(50, content=2)
    simulated.submit(first, 0.0)
    simulated.submit(second, 0.0)
    _, outcomes = run(simulated)
    assert [outcome.prompt_tokens for outcome in outcomes] == [64, 36]
    assert first.first_token == pytest.approx(0.074)
    assert second.first_token == pytest.approx(0.074 + 0.046)


def test_a_long_prompt_is_computed_in_chunks_beside_decoding() -> None:
    simulated, short, long = engine(), prompt(4, 10, content=1), prompt(150, content=2)
    simulated.submit(short, 0.0)
    simulated.step(0.0)
    simulated.submit(long, 0.0)
    chunks = [simulated.step(0.0) for _ in range(3)]
    assert [outcome.prompt_tokens for outcome in chunks] == [63, 63, 24]
    assert [outcome.decoded for outcome in chunks] == [[short]] * 3
    assert chunks[-1].started == [long]


def test_a_chunk_reads_what_was_computed_before_it() -> None:
    simulated = engine(cached_token_s=0.001, prefill_token_s=0.0)
    simulated.submit(prompt(100), 0.0)
    _, outcomes = run(simulated)
    assert [outcome.duration for outcome in outcomes] == pytest.approx([0.010, 0.010 + 0.064])


def test_a_known_prefix_shortens_the_time_to_the_first_token() -> None:
    simulated = engine()
    simulated.submit(prompt(40), 0.0)
    run(simulated)
    again = prompt(42)
    simulated.submit(again, 1.0)
    run(simulated, 1.0)
    assert again.cached == 40
    assert again.first_token == pytest.approx(1.0 + 0.010 + 0.002)
    assert (simulated.prefix_queries, simulated.prefix_hits) == (82, 40)


def test_a_wholly_known_prompt_computes_its_last_block() -> None:
    simulated = engine()
    for _ in range(2):
        sequence = prompt(40)
        simulated.submit(sequence, 0.0)
        run(simulated)
    assert sequence.cached == 36


def test_generated_tokens_are_found_by_the_next_turn() -> None:
    simulated = engine()
    simulated.submit(prompt(8, 9), 0.0)
    run(simulated)
    turn = prompt(24)
    simulated.submit(turn, 0.0)
    run(simulated)
    # 8 + 9 tokens, the last of which was never computed: four full blocks.
    assert turn.cached == 16


def test_eviction_forgets_the_longest_unused_prompt() -> None:
    simulated = engine(num_blocks=20)
    for content in (1, 2, 3):
        simulated.submit(prompt(32, content=content), 0.0)
        run(simulated)
    hits = []
    for content in (3, 1):
        sequence = prompt(32, content=content)
        simulated.submit(sequence, 0.0)
        run(simulated)
        hits.append(sequence.cached)
    # Of 20 blocks the first two prompts left 16 in the cache. The third one took the 4 empty ones and the
    # first prompt's last 4; asked again, it computed its last block anew, at the cost of one more of those.
    assert hits == [28, 12]


def test_the_youngest_sequence_is_preempted_and_computed_again() -> None:
    simulated = engine(num_blocks=6)
    old, young = prompt(8, 9, content=1), prompt(8, 9, content=2)
    simulated.submit(old, 0.0)
    simulated.submit(young, 0.0)
    _, outcomes = run(simulated)
    assert [(i, o.preempted) for i, o in enumerate(outcomes) if o.preempted] == [(5, [young])]
    assert (old.preemptions, young.preemptions, simulated.preemptions) == (0, 1, 1)
    # It had 5 tokens and comes back once the old one has ended. Two of its three full blocks are still
    # there, the old one took the third: of 8 + 5 tokens it computes 5.
    resumed = [(i, o.prompt_tokens) for i, o in enumerate(outcomes) if young in o.started]
    assert resumed == [(0, 16), (9, 5)]
    assert simulated.emitted(young) == 9


def test_a_preempted_sequence_comes_back_before_those_that_wait() -> None:
    simulated = engine(num_blocks=6, max_num_seqs=2)
    old, young, tiny = prompt(8, 9, content=1), prompt(8, 9, content=2), prompt(4, content=3)
    for sequence in (old, young, tiny):
        simulated.submit(sequence, 0.0)
    _, outcomes = run(simulated)
    assert young.preemptions == 1
    # The tiny one would fit at once, but the young one is ahead of it and needs the old one's blocks.
    ended = [sequence for outcome in outcomes for sequence in outcome.finished]
    assert ended == [old, tiny, young]


def test_the_queue_waits_while_the_whole_prompt_does_not_fit() -> None:
    simulated = engine(num_blocks=10)
    first, second, third = prompt(24, 8, content=1), prompt(20, content=2), prompt(4, content=3)
    for sequence in (first, second, third):
        simulated.submit(sequence, 0.0)
    simulated.step(0.0)
    # First come, first served: the small third one does not overtake the second.
    assert (simulated.running, simulated.waiting) == (1, 2)
    _, outcomes = run(simulated)
    assert [o.started for o in outcomes if o.started] == [[second, third]]


def test_the_batch_has_a_greatest_size() -> None:
    simulated = engine(max_num_seqs=2)
    for content in range(3):
        simulated.submit(prompt(4, 4, content=content), 0.0)
    simulated.step(0.0)
    assert (simulated.running, simulated.waiting) == (2, 1)


def test_adapters_beyond_the_limit_wait_and_let_others_pass() -> None:
    simulated = engine(max_loras=1)
    for adapter in ("a", "b", "", "a"):
        simulated.submit(prompt(4, 4, content=ord(adapter or "c"), adapter=adapter), 0.0)
    simulated.step(0.0)
    assert (simulated.running, simulated.waiting) == (3, 1)
    assert simulated.adapters() == (["a"], ["b"])
    run(simulated)
    assert simulated.running == simulated.waiting == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_an_abort_frees_all_blocks(steps: int) -> None:
    simulated, sequence = engine(), prompt(100, 20)
    simulated.submit(sequence, 0.0)
    for _ in range(steps):
        simulated.step(0.0)
    assert simulated.abort(sequence)
    assert sequence.phase is Phase.ABORTED
    assert (simulated.busy, simulated.cache.free, simulated.cache.usage) == (False, 100, 0.0)
    assert not simulated.abort(sequence)


def test_an_aborted_sequence_leaves_the_others_alone() -> None:
    simulated, gone, stays = engine(cached_token_s=0.001), prompt(8, 20, content=1), prompt(8, 3, content=2)
    simulated.submit(gone, 0.0)
    simulated.submit(stays, 0.0)
    simulated.step(0.0)
    simulated.abort(gone)
    _, outcomes = run(simulated)
    assert [outcome.decoded for outcome in outcomes] == [[stays], [stays]]
    assert outcomes[0].duration == pytest.approx(0.010 + 0.000_001 + 0.008)


def test_an_idle_step_takes_no_time() -> None:
    assert engine().step(3.0).duration == 0.0


def test_usage_counts_taken_blocks() -> None:
    simulated = engine()
    simulated.submit(prompt(40, 10), 0.0)
    simulated.step(0.0)
    assert simulated.cache.usage == pytest.approx(0.10)
    simulated.step(0.0)
    assert simulated.cache.usage == pytest.approx(0.11)


def test_jitter_is_repeatable_and_bounded() -> None:
    def durations(seed: int) -> list[float]:
        simulated = engine(jitter=0.2, seed=seed)
        simulated.submit(prompt(4, 20), 0.0)
        return [outcome.duration for outcome in run(simulated)[1]]

    assert durations(1) == durations(1) != durations(2)
    assert all(0.008 <= duration <= 0.01202 for duration in durations(1)[1:])


@pytest.mark.parametrize(("length", "output"), [(0, 1), (1, 0), (400, 1)])
def test_a_sequence_that_can_never_run_is_refused(length: int, output: int) -> None:
    with pytest.raises(ValueError, match="sequence of"):
        engine().submit(Sequence(length, output), 0.0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"block_size": 0}, "block_size is 0"),
        ({"max_num_batched_tokens": 4}, "less than max_num_seqs"),
        ({"jitter": 1.0}, "jitter is 1.0"),
    ],
)
def test_a_senseless_configuration_is_refused(changes: dict[str, int | float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        engine(**changes)


def test_the_default_replica_prefills_at_the_measured_rate() -> None:
    for chunk in (2048, 8192):
        simulated = Engine(EngineConfig(max_num_batched_tokens=chunk))
        simulated.submit(Sequence(8 * chunk, 1), 0.0)
        now, _ = run(simulated)
        assert 15_900 <= 8 * chunk / now <= 20_500
