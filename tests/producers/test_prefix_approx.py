"""The approximate prefix producer: what it writes, what it learns, what it forgets."""

import functools
import random
from typing import Any

import msgspec
import numpy as np
import pytest

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import PrefixMatch
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges
from endpoint_picker.core.request import Payload, Prompt, Request, Usage
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.producers.prefix_approx import ApproximatePrefix, PrefixParameters
from endpoint_picker.producers.tokens import TokenEstimate, TokenParameters
from tests.fakes.deciding import decided

BLOCK = 4 * 64
"""Bytes of text in a block of 64 estimated tokens."""


class Recorded(Metrics):
    """Keeps what is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[tuple[str, str, int, int, int]] = []
        self.sizes: list[int] = []
        self.truths: list[tuple[str, str, float, float]] = []

    def prefix_hit(
        self, plugin_name: str, plugin_type: str, hit_blocks: int, total: int, block_size: int
    ) -> None:
        self.hits.append((plugin_name, plugin_type, hit_blocks, total, block_size))

    def prefix_size(self, plugin_name: str, plugin_type: str, blocks: int) -> None:
        self.sizes.append(blocks)

    def prefix_truth(self, plugin_name: str, plugin_type: str, predicted: float, cached: float) -> None:
        self.truths.append((plugin_name, plugin_type, predicted, cached))


class Pool:
    """A pool of endpoints with the producers that the prefix match needs."""

    def __init__(self, count: int = 3, capacity: int = 4, **parameters: Any) -> None:
        self.table = EndpointTable(capacity=capacity)
        self.resize(count)
        self.metrics = Recorded()
        wiring = Wiring(self.table, self.metrics, random.Random(1))
        self.tokens = TokenEstimate("token-producer", TokenParameters(), wiring)
        schema = msgspec.convert(parameters, PrefixParameters)
        self.prefix = ApproximatePrefix("mine", schema, wiring)

    def resize(self, count: int) -> None:
        self.table.replace(pod(i) for i in range(count))

    def produce(self, *prompts: Prompt, model: str = "m", salt: str = "") -> Request:
        payload = Payload(model=model, prompts=prompts, cache_salt=salt)
        request = Request("1", {}, "/v1/completions", 0.0, payload=payload, target_model=model)
        candidates = self.table.candidates(0.0)
        self.tokens.produce(request, candidates)
        self.prefix.produce(request, candidates)
        return request

    def match(self, *prompts: Prompt, model: str = "m", salt: str = "") -> PrefixMatch:
        return found(self.produce(*prompts, model=model, salt=salt))

    def serve(self, row: int, *prompts: Prompt, model: str = "m", prefill: int | None = None) -> Request:
        request = self.produce(*prompts, model=model)
        self.prefix.learn(request, self.decide(row, prefill))
        return request

    def decide(self, row: int, prefill: int | None = None) -> Decision:
        return decided(self.table, row, **({} if prefill is None else {"prefill": prefill}))


def pod(number: int, address: str = "10.0.0.") -> Endpoint:
    return Endpoint(f"pod-{number}", f"{address}{number}", 8000)


def found(request: Request) -> PrefixMatch:
    fact = request.attributes.read(attributes.prefix_match("mine"))
    assert fact is not None
    return fact


def text(blocks: float, seed: int = 1) -> bytes:
    """So many blocks of one long text for each seed."""
    return _long_text(seed)[: int(blocks * BLOCK)]


@functools.lru_cache(maxsize=4)
def _long_text(seed: int) -> bytes:
    return random.Random(seed).randbytes(2100 * BLOCK)


def test_a_prompt_is_held_where_it_was_sent() -> None:
    pool = Pool()
    assert pool.match(text(3.5)).blocks.tolist() == [0, 0, 0, 0]
    pool.serve(1, text(3.5))
    match = pool.match(text(3.5) + b"more")
    assert match.blocks.tolist() == [0, 3, 0, 0]
    assert (match.total, match.block_size) == (4, 64)
    assert pool.match(text(3.5)).blocks.tolist() == [0, 4, 0, 0]


def test_only_a_common_beginning_counts() -> None:
    pool = Pool()
    pool.serve(0, text(2) + text(2, seed=2))
    assert pool.match(text(2) + text(2, seed=3)).blocks[0] == 2
    assert pool.match(text(2, seed=2)).blocks[0] == 0


def test_models_and_salts_are_kept_apart() -> None:
    pool = Pool()
    pool.serve(0, text(2))
    assert pool.match(text(2), model="other").blocks[0] == 0
    assert pool.match(text(2), salt="mine").blocks[0] == 0


def test_prompts_of_one_body_are_summed() -> None:
    pool = Pool()
    pool.serve(0, text(2))
    pool.serve(0, text(3, seed=2))
    match = pool.match(text(2), text(4, seed=2), b"")
    assert (match.blocks[0], match.total) == (5, 6)


def test_token_ids_match_as_text_does() -> None:
    pool, ids = Pool(), np.arange(200, dtype=np.uint32)
    pool.serve(2, ids)
    assert pool.match(ids[:128].copy()).blocks.tolist() == [0, 0, 2, 0]


def test_the_profile_named_prefill_holds_the_prompt_too() -> None:
    pool = Pool()
    pool.serve(0, text(2), prefill=2)
    assert pool.match(text(2)).blocks.tolist() == [2, 0, 2, 0]
    pool.serve(1, text(2, seed=2), prefill=1)
    assert pool.match(text(2, seed=2)).blocks.tolist() == [0, 2, 0, 0]


def test_hit_and_size_are_counted_for_the_chosen_endpoint() -> None:
    pool = Pool()
    pool.serve(0, text(2))
    pool.serve(0, text(3))
    pool.serve(1, text(3))
    kind = "approx-prefix-cache-producer"
    assert pool.metrics.hits == [("mine", kind, 0, 2, 64), ("mine", kind, 2, 3, 64), ("mine", kind, 0, 3, 64)]
    pool.serve(1, text(3))
    assert pool.metrics.hits[-1] == ("mine", kind, 3, 3, 64)
    assert pool.metrics.sizes == [2, 3, 6, 6]
    assert pool.prefix.statistics().rows == {0: 3, 1: 3}


def test_an_endpoint_that_served_instead_learns_too() -> None:
    pool = Pool()
    request = pool.serve(0, text(2))
    pool.prefix.learn_at(request, 2)
    assert pool.match(text(2)).blocks.tolist() == [2, 0, 2, 0]


def test_a_new_endpoint_in_an_old_row_holds_nothing() -> None:
    pool = Pool()
    pool.serve(0, text(2))
    pool.serve(1, text(2))
    pool.table.replace([pod(0), pod(1, "10.0.9."), pod(2)])
    assert pool.match(text(2)).blocks.tolist() == [2, 0, 0, 0]
    assert pool.prefix.statistics().rows == {0: 2}
    pool.table.replace([pod(0, "10.0.9."), pod(1, "10.0.9."), pod(2)])
    assert pool.match(text(2)).blocks.tolist() == [0, 0, 0, 0]


def test_nothing_is_learned_for_an_endpoint_that_has_gone_meanwhile() -> None:
    pool = Pool()
    request, decision = pool.produce(text(2)), pool.decide(2)
    pool.resize(2)
    pool.prefix.learn(request, decision)
    pool.prefix.learn_at(request, 2)
    pool.table.replace([pod(0), pod(1), pod(7)])
    pool.prefix.learn(request, decision)
    assert pool.match(text(2)).blocks.tolist() == [0, 0, 0, 0]


def test_the_table_may_grow_between_the_pick_and_what_is_learned() -> None:
    pool = Pool(capacity=4)
    request, decision = pool.produce(text(2)), pool.decide(1)
    pool.resize(40)
    pool.prefix.learn(request, decision)
    pool.serve(39, text(1))
    match = pool.match(text(2))
    assert len(match.blocks) == pool.table.capacity
    assert np.flatnonzero(match.blocks).tolist() == [1, 39]


@pytest.mark.parametrize("prompts", [(), (b"",), (np.empty(0, np.uint32),)])
def test_a_request_without_a_prompt_is_no_match_and_no_harm(prompts: tuple[Prompt, ...]) -> None:
    pool = Pool()
    match = found(pool.serve(0, *prompts))
    assert (match.blocks.tolist(), match.total) == ([0, 0, 0, 0], 0)
    assert pool.metrics.hits == []
    assert pool.metrics.sizes == [0]


def test_without_candidates_there_is_a_match_of_nothing() -> None:
    assert Pool(count=0).match(text(2)).blocks.tolist() == [0, 0, 0, 0]


def test_without_tokens_there_is_no_fact() -> None:
    pool = Pool()
    request = Request("1", {}, "/", 0.0)
    pool.prefix.produce(request, pool.table.candidates(0.0))
    pool.prefix.learn(request, pool.decide(0))
    assert request.attributes.read(attributes.prefix_match("mine")) is None
    assert pool.prefix.requires() == (attributes.tokenized_prompt(),)


def observe(pool: Pool, row: int, *, block_size: int, num_blocks: int) -> None:
    pool.table.observe(row, Gauges(block_size=block_size, num_blocks=num_blocks), 0.0)


def test_the_engines_block_size_is_used_from_64_up() -> None:
    pool = Pool()
    pool.serve(0, text(4))
    observe(pool, 1, block_size=16, num_blocks=100)
    assert pool.match(text(4)).blocks[0] == 4
    observe(pool, 1, block_size=128, num_blocks=100)
    match = pool.match(text(4))
    assert (match.blocks[0], match.total, match.block_size) == (0, 2, 128)
    pool.serve(0, text(4))
    assert pool.match(text(4)).blocks[0] == 2


@pytest.mark.parametrize("size", [128, 1_000_000, 10**12])
def test_one_replica_with_another_block_size_empties_nobodys_index(size: int) -> None:
    pool = Pool()
    for row in range(3):
        observe(pool, row, block_size=16, num_blocks=100)
    pool.serve(0, text(4))
    observe(pool, 1, block_size=size, num_blocks=100)
    match = pool.match(text(4))
    assert (match.blocks[0], match.block_size) == (4, 64)


def test_a_block_size_that_half_of_the_pool_tells_stays() -> None:
    pool = Pool(count=2)
    for row in range(2):
        observe(pool, row, block_size=128, num_blocks=100)
    pool.serve(0, text(4))
    for size in (64, 256):
        observe(pool, 1, block_size=size, num_blocks=100)
        assert pool.match(text(4)).blocks[0] == 2


def test_a_block_size_that_cannot_be_true_is_not_used_though_all_tell_it() -> None:
    pool = Pool(count=1)
    observe(pool, 0, block_size=10**12, num_blocks=100)
    assert pool.match(text(4)).block_size == 64


def test_what_was_hashed_for_another_block_size_is_not_learned() -> None:
    pool = Pool()
    request, decision = pool.produce(text(4)), pool.decide(0)
    observe(pool, 1, block_size=128, num_blocks=100)
    pool.produce(b"")
    pool.prefix.learn(request, decision)
    assert pool.prefix.statistics().held == 0


def test_an_endpoint_remembers_as_many_tokens_as_its_cache_holds() -> None:
    pool = Pool()
    observe(pool, 0, block_size=16, num_blocks=40)
    for row in (0, 1):
        pool.serve(row, text(30))
    # 40 blocks of 16 tokens are 10 blocks of 64.
    assert pool.match(text(30)).blocks.tolist() == [10, 30, 0, 0]


def test_the_configured_capacity_counts_where_the_engine_tells_nothing() -> None:
    pool = Pool(lruCapacityPerServer=7)
    pool.serve(0, text(30))
    assert pool.match(text(30)).blocks[0] == 7
    fixed = Pool(lruCapacityPerServer=7, autoTune=False, blockSizeTokens=100)
    observe(fixed, 0, block_size=256, num_blocks=1000)
    fixed.serve(0, text(30))
    match = fixed.match(text(30))
    assert (match.blocks[0], match.block_size) == (7, 100)


@pytest.mark.parametrize(
    ("parameters", "total"),
    [
        ({}, 2048),
        ({"maxPrefixTokensToMatch": 640}, 10),
        ({"maxPrefixTokensToMatch": 63}, 0),
        ({"maxPrefixTokensToMatch": 0}, 2048),
        ({"maxPrefixTokensToMatch": 0, "maxPrefixBlocksToMatch": 5}, 5),
        ({"maxPrefixTokensToMatch": 0, "maxPrefixBlocksToMatch": 0}, 2100),
        ({"maxPrefixTokensToMatch": 640, "maxPrefixBlocksToMatch": 5}, 10),
    ],
)
def test_long_prompts_are_looked_at_up_to_the_cap(parameters: dict[str, int], total: int) -> None:
    assert Pool(**parameters).match(text(2100)).total == total


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({}, 64),
        ({"blockSizeTokens": 5}, 64),
        ({"blockSizeTokens": 96}, 96),
        ({"blockSize": 96}, 96),
        ({"blockSize": 96, "blockSizeTokens": 128}, 128),
        ({"blockSizeTokens": 0}, 64),
    ],
)
def test_the_configured_block_size_holds_until_the_engines_tell_theirs(
    parameters: dict[str, int], size: int
) -> None:
    assert Pool(**parameters).match(text(1)).block_size == size


@pytest.mark.parametrize(
    "parameters",
    [
        {"blockSizeTokens": -1},
        {"blockSizeTokens": 0, "autoTune": False},
        {"blockSize": -1},
        {"maxPrefixTokensToMatch": -1},
        {"maxPrefixBlocksToMatch": -1},
        {"lruCapacityPerServer": -1},
    ],
)
def test_values_without_a_meaning_are_refused_by_name(parameters: dict[str, Any]) -> None:
    key = next(iter(parameters))
    with pytest.raises(msgspec.ValidationError, match=f"{key} is .*: it must be at least"):
        msgspec.convert(parameters, PrefixParameters)


@pytest.mark.parametrize("key", ["blockSizeTokens", "blockSize"])
def test_a_block_that_would_fill_the_memory_is_refused(key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{key} is 65537: it must be at most 65536"):
        msgspec.convert({key: 65537}, PrefixParameters)


def test_a_block_size_that_is_raised_is_told(caplog: pytest.LogCaptureFixture) -> None:
    Pool(autoTune=False, blockSizeTokens=5)
    assert "mine: blocks of 5 tokens are too small, 64 are used" in caplog.text
    caplog.clear()
    Pool(autoTune=False, blockSizeTokens=64)
    assert not caplog.text


# === what the engines report ===


def audit(pool: Pool, request: Request, cached: int | None, *, row: int = 0) -> None:
    """The endpoint in `row` served it, and says that so many of 100 tokens came from its cache."""
    pool.prefix.audit(request, pool.decide(0), row, Usage(100, 10, cached))


def held(pool: Pool) -> int:
    return int(pool.match(text(10)).blocks[0])


def test_an_endpoint_that_took_less_from_its_cache_loses_what_it_lacked() -> None:
    pool = Pool()
    pool.serve(0, text(10))
    # Half of the tokens were cached: five blocks of the ten that it was thought to hold.
    audit(pool, pool.serve(0, text(10)), cached=50)
    assert held(pool) == 5
    assert pool.prefix.statistics().held == 5


@pytest.mark.parametrize("cached", [None, 90, 96, 100, 400])
def test_what_it_reports_confirms_the_belief_or_says_nothing(cached: int | None) -> None:
    """A tenth less is the end of the prompt, which engines compute anew, and what templates add."""
    pool = Pool()
    pool.serve(0, text(10))
    audit(pool, pool.serve(0, text(10)), cached)
    assert held(pool) == 10


def test_a_new_prompt_is_no_belief_that_could_be_wrong() -> None:
    pool = Pool()
    audit(pool, pool.serve(0, text(10)), cached=0)
    assert held(pool) == 10


def test_another_endpoint_that_served_in_the_end_says_nothing_of_the_first() -> None:
    pool = Pool()
    pool.serve(0, text(10))
    audit(pool, pool.serve(0, text(10)), cached=0, row=1)
    assert held(pool) == 10


def test_thought_and_truth_are_counted() -> None:
    pool = Pool()
    pool.serve(0, text(10))
    audit(pool, pool.serve(0, text(10)), cached=50)
    assert pool.metrics.truths == [("mine", "approx-prefix-cache-producer", 100.0, 50.0)]


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [({}, 10), ({"lruCapacityPerServer": 7}, 10), ({"blockSizeTokens": 128}, 0), ({"autoTune": False}, 0)],
)
def test_what_was_learned_outlives_a_configuration_that_cuts_blocks_alike(
    parameters: dict[str, Any], kept: int
) -> None:
    pool = Pool()
    pool.serve(0, text(10))
    schema = msgspec.convert(parameters, PrefixParameters)
    new = ApproximatePrefix("mine", schema, Wiring(pool.table, pool.metrics, random.Random(2)))
    new.adopt(pool.prefix)
    pool.prefix = new
    assert held(pool) == kept
