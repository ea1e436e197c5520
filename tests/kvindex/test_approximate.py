"""The approximate index against a model of dictionaries."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from endpoint_picker.kvindex import approximate, recency
from endpoint_picker.kvindex.approximate import ApproximateIndex
from endpoint_picker.kvindex.hashing import Hashes

ROWS = 140
"""More than two words of a bitmask."""


def hashes(*values: int) -> Hashes:
    return np.array(values, np.uint64)


def span(first: int, count: int) -> Hashes:
    return np.arange(first, first + count, dtype=np.uint64)


class Model:
    """What the index promises, one block at a time."""

    def __init__(self) -> None:
        self.rows: dict[int, OrderedDict[int, None]] = {}

    def insert(self, row: int, prompt: Hashes, capacity: int) -> None:
        if not len(prompt):
            return
        held = self.rows.setdefault(row, OrderedDict())
        for block in reversed(prompt.tolist()):
            held[block] = None
            held.move_to_end(block)
        while len(held) > capacity:
            held.popitem(last=False)

    def match(self, prompt: Hashes) -> list[int]:
        return [self._leading(self.rows.get(row, OrderedDict()), prompt) for row in range(ROWS)]

    def _leading(self, held: OrderedDict[int, None], prompt: Hashes) -> int:
        missing = (place for place, block in enumerate(prompt.tolist()) if block not in held)
        return next(missing, len(prompt))


def assert_same(index: ApproximateIndex, model: Model, prompt: Hashes) -> None:
    assert index.match(prompt, rows=ROWS).tolist() == model.match(prompt)
    size = index.statistics()
    assert size.rows == {row: len(held) for row, held in model.rows.items()}
    assert size.held == index.held == sum(size.rows.values())
    assert size.blocks == len(set().union(*model.rows.values()))


rows = st.sampled_from([0, 1, 2, 63, 64, 139])
capacities = st.sampled_from([0, 1, 5, 30, 100, 200])
few_blocks = st.lists(st.integers(0, 40), max_size=12).map(lambda blocks: hashes(*blocks))
paths = st.builds(span, st.sampled_from([0, 20, 50]), st.integers(0, 120))


class IndexMachine(RuleBasedStateMachine):
    """Any order of inserts and drops: duplicates, gaps, shrinking capacities."""

    @initialize()
    def start(self) -> None:
        self.index, self.model = ApproximateIndex(), Model()
        self.latest = hashes()

    @rule(row=rows, prompt=st.one_of(few_blocks, paths), capacity=capacities)
    def insert(self, row: int, prompt: Hashes, capacity: int) -> None:
        self.index.insert(row, prompt, capacity)
        self.model.insert(row, prompt, capacity)
        self.latest = prompt

    @rule(row=rows, prompt=st.one_of(few_blocks, paths))
    def forget(self, row: int, prompt: Hashes) -> None:
        self.index.forget(row, prompt)
        for block in prompt.tolist():
            self.model.rows.get(row, OrderedDict()).pop(block, None)
        self.latest = prompt

    @rule(row=rows)
    def drop(self, row: int) -> None:
        self.index.drop(row)
        self.model.rows.pop(row, None)

    @rule(prompt=st.one_of(few_blocks, paths))
    def look(self, prompt: Hashes) -> None:
        self.latest = prompt

    @invariant()
    def agrees(self) -> None:
        assert_same(self.index, self.model, self.latest)


# Shrinking a failure takes longer than a test may run; the steps of the failing run are told as they are.
IndexMachine.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestIndex = IndexMachine.TestCase


def churn(index: ApproximateIndex, *, turns: int, capacity: int, seed: int) -> None:
    """Long random traffic with shared beginnings, compared with the model now and then."""
    rng, model = np.random.default_rng(seed), Model()
    for turn in range(turns):
        row = int(rng.choice([0, 1, 2, 63, 64, 139]))
        prompt = span(int(rng.integers(4)) * 10_000, int(rng.integers(1, 900)))
        tail = rng.integers(0, 2**64, int(rng.integers(0, 900)), dtype=np.uint64)
        prompt = np.concatenate([prompt, tail])
        index.insert(row, prompt, capacity)
        model.insert(row, prompt, capacity)
        if turn % 20 == 0:
            assert_same(index, model, prompt)
        if turn % 7 == 6:
            index.forget(row, prompt[::3])
            for block in prompt[::3].tolist():
                model.rows[row].pop(block, None)
        if turn % 50 == 49:
            index.drop(row)
            del model.rows[row]
    assert_same(index, model, prompt)


@pytest.fixture(params=[0, 96, 1 << 30])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many blocks are looked at one after the other: none, as it is, or all."""
    monkeypatch.setattr(approximate, "_FEW", request.param)


@pytest.mark.usefixtures("few")
def test_the_index_grows_page_by_page_and_stays_right() -> None:
    churn(ApproximateIndex(), turns=150, capacity=20_000, seed=1)


@pytest.mark.usefixtures("few")
def test_a_long_life_at_full_capacity_stays_right() -> None:
    churn(ApproximateIndex(secret=12345), turns=300, capacity=2_500, seed=2)


@pytest.mark.usefixtures("few")
def test_the_count_of_uses_may_run_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recency, "_LAST_USE", 10_000)
    churn(ApproximateIndex(), turns=150, capacity=2_500, seed=3)


def test_a_prompt_of_a_million_tokens_into_an_empty_index() -> None:
    index, prompt = ApproximateIndex(), np.random.default_rng(4).integers(0, 2**64, 16_000, dtype=np.uint64)
    index.insert(3, prompt, 31_250)
    assert index.match(prompt, rows=5).tolist() == [0, 0, 0, 16_000, 0]


def test_the_end_of_a_prompt_goes_before_its_beginning() -> None:
    index = ApproximateIndex()
    index.insert(0, span(0, 10), 10)
    index.insert(0, span(100, 4), 10)
    assert index.match(span(0, 10), rows=1).tolist() == [6]
    assert index.match(span(100, 4), rows=1).tolist() == [4]


def test_a_known_beginning_outlives_the_new_end_behind_it() -> None:
    index = ApproximateIndex()
    index.insert(0, hashes(1, 2, 3), 5)
    index.insert(0, hashes(1, 4, 5, 6), 5)
    index.insert(0, hashes(7, 8), 5)
    assert index.match(hashes(1, 4, 5, 6), rows=1).tolist() == [3]


def test_of_a_prompt_larger_than_the_cache_the_beginning_stays() -> None:
    index = ApproximateIndex()
    index.insert(0, span(0, 100), 30)
    assert index.match(span(0, 100), rows=1).tolist() == [30]


def test_a_gap_ends_the_match() -> None:
    index = ApproximateIndex()
    index.insert(0, hashes(1, 2, 4, 5), 10)
    index.insert(1, hashes(1, 2, 3), 10)
    assert index.match(hashes(1, 2, 3, 4, 5), rows=3).tolist() == [2, 3, 0]


def test_the_answer_is_as_long_as_asked() -> None:
    index = ApproximateIndex()
    index.insert(100, span(1, 5), 10)
    assert index.match(span(1, 5), rows=3).tolist() == [0, 0, 0]
    assert index.match(span(1, 5), rows=200)[100] == 5
    assert len(index.match(hashes(), rows=200)) == 200
    assert len(index.match(span(1, 5), rows=0)) == 0


def test_the_hashes_that_mark_free_lanes_are_ordinary_blocks() -> None:
    index = ApproximateIndex()
    assert index.match(hashes(0), rows=1).tolist() == [0]
    index.insert(0, hashes(0, 2**64 - 1), 10)
    assert index.match(hashes(0, 2**64 - 1), rows=1).tolist() == [2]


@pytest.mark.parametrize("shared", [0, 500, 1000])
def test_a_held_block_takes_at_most_64_bytes(shared: int) -> None:
    rng, index = np.random.default_rng(5), ApproximateIndex()
    common = rng.integers(0, 2**64, shared, dtype=np.uint64)
    for turn in range(150):
        own = rng.integers(0, 2**64, 1000 - shared, dtype=np.uint64)
        index.insert(turn % 30, np.concatenate([common, own]), 4_000)
    size = index.statistics()
    assert size.bytes <= 64 * size.held
    assert all(count <= 4_000 for count in size.rows.values())


def test_memory_does_not_grow_with_traffic() -> None:
    rng, index = np.random.default_rng(6), ApproximateIndex()

    def traffic(turns: int) -> int:
        for turn in range(turns):
            index.insert(turn % 5, rng.integers(0, 2**64, 200, dtype=np.uint64), 1_000)
        return index.statistics().bytes

    assert traffic(1_000) <= 1.5 * traffic(50)


def test_dropping_everybody_empties_the_index() -> None:
    index = ApproximateIndex()
    for row in range(70):
        index.insert(row, span(0, 50), 100)
    for row in range(70):
        index.drop(row)
    size = index.statistics()
    assert (size.blocks, size.held, size.rows) == (0, 0, {})
    assert index.match(span(0, 50), rows=70).tolist() == [0] * 70
