"""Laws of sharing work: whatever becomes of transfers, kept blocks and clients, no block is lost."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.config import EngineConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Phase, Sequence

CONFIG = EngineConfig(block_size=4, num_blocks=24, max_num_seqs=5, max_num_batched_tokens=20)
HOLDING = (Phase.FETCHING, Phase.FETCHED, Phase.PREFILL, Phase.DECODE)


@dataclass(frozen=True, slots=True)
class Plan:
    """One sequence: when it comes, how long its transfer takes and how that ends, when its client goes."""

    step: int
    prompt: int
    output: int
    content: int
    fetch: bool
    keep: bool
    transfer: int
    works: bool
    recompute: bool
    lease: int
    abort: int | None

    def sequence(self) -> Sequence:
        count = (self.prompt + self.output) // 4
        hashes = [self.content * 100 + i for i in range(count)]
        return Sequence(self.prompt, self.output, hashes, fetch=self.fetch, keep=self.keep)


plans = st.lists(
    st.builds(
        Plan,
        step=st.integers(0, 30),
        prompt=st.integers(1, 60),
        output=st.integers(1, 36),
        content=st.integers(0, 3),
        fetch=st.booleans(),
        keep=st.booleans(),
        transfer=st.integers(0, 12),
        works=st.booleans(),
        recompute=st.booleans(),
        lease=st.integers(0, 20),
        abort=st.none() | st.integers(0, 60),
    ),
    min_size=1,
    max_size=14,
)


def check_books(engine: Engine, live: list[Sequence]) -> None:
    """The cache's count of taken blocks is that of the sequences which hold some."""
    holding = [each for each in live if each.phase in HOLDING or each in engine.transfers.kept]
    shared = {key for each in holding for key in each.shared}
    private = sum(each.blocks - len(each.shared) for each in holding)
    assert engine.cache.free == CONFIG.num_blocks - len(shared) - private
    assert engine.waiting == sum(
        each.phase in (Phase.WAITING, Phase.FETCHING, Phase.FETCHED) for each in live
    )


class Run:
    """One engine, the sequences that came, and what will become of them."""

    def __init__(self, made: list[Plan]) -> None:
        self.engine = Engine(CONFIG)
        self.plans = {plan.sequence(): plan for plan in made}
        self.live: list[Sequence] = []
        self.todo: list[tuple[int, str, Sequence]] = []
        for sequence, plan in self.plans.items():
            self.todo.append((plan.step, "submit", sequence))
            if plan.abort is not None:
                self.todo.append((plan.step + plan.abort, "abort", sequence))

    def step(self, now: int) -> None:
        """What is due, then one step."""
        for due in [each for each in self.todo if each[0] <= now]:
            self.todo.remove(due)
            self.do(due[1], due[2])
        outcome = self.engine.step(0.0)
        for sequence in outcome.fetching:
            self.todo.append((now + self.plans[sequence].transfer, "transfer", sequence))
        for sequence in outcome.finished:
            if sequence.keep:
                self.todo.append((now + self.plans[sequence].lease, "lease", sequence))

    def do(self, what: str, sequence: Sequence) -> None:
        engine, plan = self.engine, self.plans[sequence]
        if what == "submit":
            engine.submit(sequence, 0.0)
            self.live.append(sequence)
        elif what == "abort":
            engine.abort(sequence)
        elif what == "lease":
            assert engine.release(sequence)
        elif plan.works:
            engine.fetched(sequence)
        else:
            engine.fetch_failed(sequence, recompute=plan.recompute)


@given(plans)
@settings(max_examples=200, deadline=None)
def test_everybody_ends_and_all_blocks_come_back(made: list[Plan]) -> None:
    run, now = Run(made), 0
    engine = run.engine
    while engine.busy or run.todo:
        run.step(now)
        check_books(engine, run.live)
        now += 1
        assert now < 5000, "the engine makes no progress"
    assert engine.cache.free == CONFIG.num_blocks
    assert not engine.transfers.kept
    for sequence, plan in run.plans.items():
        ends = {Phase.FINISHED}
        if plan.abort is not None:
            ends.add(Phase.ABORTED)
        if plan.fetch and not plan.works and not plan.recompute:
            ends.add(Phase.FAILED)
        assert sequence.phase in ends
