"""Laws that hold for any traffic: blocks never leak, everybody ends, nobody gets a token too many."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.config import EngineConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Phase, Sequence

CONFIG = EngineConfig(
    block_size=4, num_blocks=24, max_num_seqs=5, max_num_batched_tokens=20, max_loras=1, jitter=0.1
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sequence to submit before a step, and when its client gives up, if it does."""

    step: int
    prompt: int
    output: int
    content: int
    adapter: str
    abort: int | None

    def sequence(self) -> Sequence:
        count = (self.prompt + self.output) // 4
        return Sequence(
            self.prompt, self.output, [self.content * 100 + i for i in range(count)], self.adapter
        )


arrivals = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 30),
        prompt=st.integers(1, 60),
        output=st.integers(1, 36),
        content=st.integers(0, 2),
        adapter=st.sampled_from(["", "", "a", "b"]),
        abort=st.none() | st.integers(0, 40),
    ),
    min_size=1,
    max_size=14,
)


def check_books(engine: Engine, live: list[Sequence]) -> None:
    """The cache's count of taken blocks is that of the sequences in the batch."""
    running = [each for each in live if each.phase in (Phase.PREFILL, Phase.DECODE)]
    shared = {key for each in running for key in each.shared}
    private = sum(each.blocks - len(each.shared) for each in running)
    assert engine.cache.free == CONFIG.num_blocks - len(shared) - private
    assert 0 <= engine.cache.idle <= engine.cache.free
    assert engine.running == len(running) <= CONFIG.max_num_seqs
    assert len({each.adapter for each in running} - {""}) <= 1


@given(arrivals)
@settings(max_examples=150, deadline=None)
def test_everybody_ends_with_the_tokens_asked_for_and_nothing_leaks(plan: list[Arrival]) -> None:
    engine, now, step = Engine(CONFIG), 0.0, 0
    sequences = [(arrival, arrival.sequence()) for arrival in plan]
    live = [sequence for _, sequence in sequences]
    tokens: Counter[Sequence] = Counter()
    ended: list[Sequence] = []
    while engine.busy or step <= 40:
        for arrival, sequence in sequences:
            if arrival.step == step:
                engine.submit(sequence, now)
            if arrival.abort == step and arrival.step <= step:
                engine.abort(sequence)
        outcome = engine.step(now)
        assert outcome.prompt_tokens + len(outcome.decoded) <= CONFIG.max_num_batched_tokens
        assert set(outcome.finished) <= {*outcome.started, *outcome.decoded}
        tokens.update(outcome.started)
        tokens.update(outcome.decoded)
        ended += outcome.finished
        check_books(engine, live)
        now, step = now + outcome.duration, step + 1
        assert step < 5000, "the engine makes no progress"
    assert engine.cache.free == CONFIG.num_blocks
    assert len(ended) == len(set(ended))
    for sequence in live:
        assert sequence.phase is (Phase.FINISHED if sequence in ended else Phase.ABORTED)
        assert tokens[sequence] <= sequence.output_tokens
        assert tokens[sequence] == engine.emitted(sequence)


@given(arrivals)
@settings(max_examples=30, deadline=None)
def test_the_same_traffic_takes_the_same_time(plan: list[Arrival]) -> None:
    def total() -> float:
        engine, now = Engine(CONFIG), 0.0
        for arrival in plan:
            engine.submit(arrival.sequence(), now)
        while engine.busy:
            now += engine.step(now).duration
        return now

    assert total() == total()
