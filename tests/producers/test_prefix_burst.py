"""The burst producer: who belongs together, where groups go, and when they end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import prefix_match, tokenized_prompt
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.kvindex.bursts import LARGEST_BATCH
from endpoint_picker.producers.prefix_burst import BurstParameters, BurstPrefix
from endpoint_picker.producers.tokens import TokenEstimate, TokenParameters
from tests.fakes.deciding import decided
from tests.fakes.pool import NOW, endpoint, table_of, wiring_of

BLOCK = 4 * 64
"""Bytes of text in a block of 64 estimated tokens."""


class Pool:
    """Some endpoints and the producer."""

    def __init__(self, count: int = 4, **parameters: Any) -> None:
        self.table = table_of((), [{}] * count)
        wiring = wiring_of(self.table)
        block = PluginBlock(type=BurstPrefix.type, name="burst", parameters=parameters)
        schema = load.parameters(block, BurstParameters, source="epp.yaml")
        assert isinstance(schema, BurstParameters)
        self.tokens = TokenEstimate("token-producer", TokenParameters(), wiring)
        self.producer = BurstPrefix("burst", schema, wiring)

    def ask(self, prompt: str, at: float = 0.0, rows: Any = None, model: str = "m") -> Request:
        """A request with one block for each letter, so many seconds after the beginning."""
        text = "".join(letter * BLOCK for letter in prompt).encode()
        request = Request("r", {}, "/", NOW, Payload(model, prompts=(text,)), target_model=model)
        where = self.table.live if rows is None else np.array(rows)
        candidates = Candidates(self.table, where, NOW + at)
        self.tokens.produce(request, candidates)
        self.producer.produce(request, candidates)
        return request

    def assigned(self, request: Request) -> int | None:
        """Where it matches, and that it does so as a whole and nowhere else."""
        fact = request.attributes.read(prefix_match("burst"))
        assert fact is not None
        where: list[int] = np.flatnonzero(fact.blocks).tolist()
        assert fact.blocks[where].tolist() == [fact.total] * len(where)
        assert len(where) <= 1
        return where[0] if where else None

    def send(self, prompt: str, row: int | None = None, at: float = 0.0) -> int | None:
        """Where a request is drawn to; it goes there, or to `row` where it is drawn nowhere."""
        request = self.ask(prompt, at)
        drawn = self.assigned(request)
        target = row if drawn is None else drawn
        if target is not None:
            self.producer.learn(request, decided(self.table, target))
        return drawn


def test_a_group_follows_its_first_pick() -> None:
    pool = Pool()
    assert pool.send("abc", row=2) is None
    assert [pool.send("abc") for _ in range(20)] == [2] * 20
    # Another end, another beginning, another model: no group without minColocateBlocks.
    assert pool.send("abd") is pool.send("ab") is pool.send("xbc") is None
    assert pool.assigned(pool.ask("abc", model="other")) is None


def test_the_match_counts_blocks() -> None:
    pool = Pool()
    pool.send("abc", row=1)
    fact = pool.ask("abc").attributes.read(prefix_match("burst"))
    assert fact is not None
    assert (fact.blocks.tolist(), fact.total, fact.block_size) == ([0, 3, 0, 0], 3, 64)


def test_a_group_lasts_for_one_window_from_its_first_request_on() -> None:
    pool = Pool(windowDurationMs=200)
    pool.send("a", row=1)
    assert pool.send("a", at=0.15) == 1
    assert pool.send("a", at=0.199) == 1
    assert pool.send("a", row=3, at=0.2) is None
    assert pool.send("a", at=0.3) == 3


def test_a_replica_that_has_enough_of_a_group_is_followed_by_the_least_loaded() -> None:
    pool = Pool(maxPerReplica=2)
    pool.send("z", row=0)
    pool.table.in_flight[1] = 5
    # Two go to 3; then 2 is the least loaded (0 has a request of the window, 1 has more in flight).
    assert [pool.send("a", row=3), pool.send("a")] == [None, 3]
    assert [pool.send("a"), pool.send("a")] == [2, 2]
    assert [pool.send("a"), pool.send("a")] == [1, 1]
    assert [pool.send("a"), pool.send("a")] == [0, 0]
    # Everybody has enough: others may decide.
    assert pool.send("a", row=0) is None


def test_who_is_no_candidate_is_not_assigned() -> None:
    pool = Pool()
    pool.send("a", row=2)
    assert pool.assigned(pool.ask("a", rows=[0, 1])) == 0
    assert pool.assigned(pool.ask("a", rows=[1, 2])) == 2


def test_a_shared_beginning_draws_up_to_a_fair_share() -> None:
    pool = Pool(count=2, minColocateBlocks=2)
    assert pool.send("abx", row=1) is None
    # Only one leading block is shared.
    assert pool.send("ayz", row=0) is None
    # Loads are 1, 1: with this one 3 requests on 2 replicas, the share is 2; row 1 has the beginning and 1.
    assert pool.send("aby") == 1
    # 1, 2: 4 on 2, the share is 2, row 1 has it already: the least loaded, row 0.
    assert pool.send("abz") == 0
    # 2, 2: the share is 3, both have the beginning now: by row.
    assert pool.send("abw") == 0
    # A prompt shorter than the beginning is drawn nowhere.
    assert pool.send("a", row=0) is None


def test_equal_prompts_stay_together_beyond_a_fair_share() -> None:
    pool = Pool(count=2, minColocateBlocks=1)
    pool.send("ab", row=0)
    assert [pool.send("ab") for _ in range(9)] == [0] * 9
    assert pool.send("ac") == 1


def test_load_in_tokens_counts_what_has_to_be_computed() -> None:
    pool = Pool(count=3, minColocateBlocks=1, balanceBy="tokens")
    # Row 0 computes 5 blocks once, whatever the number of requests.
    pool.send("abcde", row=0)
    assert [pool.send("abcde") for _ in range(5)] == [0] * 5
    pool.send("xy", row=1)
    pool.send("x", row=1)
    # Loads are 5, 2 + (1 - 1 shared block) = 2, 0. This one: 5 + 2 + 2 = 9 blocks on 3, the share is 3.
    assert pool.send("xz") == 1
    # Loads are 5, 2 + 2 - 1 = 3, 0: 8 + 2 = 10, the share is 4.
    assert pool.send("xw") == 1
    # Loads are 5, 4, 0: 9 + 2 = 11, the share is 4; row 1 has it: the least loaded, row 2.
    assert pool.send("xv") == 2


def test_by_requests_the_same_requests_balance_otherwise() -> None:
    pool = Pool(count=3, minColocateBlocks=1)
    pool.send("abcde", row=0)
    for _ in range(5):
        pool.send("abcde")
    # 6, 1, 0: with this one 8 on 3, the share is 3.
    pool.send("xy", row=1)
    assert [pool.send("xz"), pool.send("xw")] == [1, 1]
    # 6, 3, 0: 10 on 3, the share is 4.
    assert pool.send("xv") == 1


def test_no_more_requests_are_remembered_than_a_batch_has() -> None:
    pool = Pool(maxBatchSize=2)
    pool.send("a", row=0)
    pool.send("b", row=1)
    pool.send("c", row=2)
    assert pool.send("c", row=2) is None
    assert pool.send("a") == 0
    # They are forgotten with their window.
    assert pool.send("c", row=2, at=0.11) is None
    assert pool.send("c", at=0.11) == 2
    assert BurstParameters(max_batch_size=-1).limits.most_requests == LARGEST_BATCH


def test_only_so_much_of_a_prompt_is_compared() -> None:
    pool = Pool(blockSizeTokens=64, maxPrefixTokensToMatch=128)
    pool.send("abc", row=1)
    assert pool.send("abd") == 1
    assert pool.send("axc", row=0) is None


def test_blocks_are_as_long_as_configured() -> None:
    pool = Pool(blockSizeTokens=128)
    fact = pool.ask("abc").attributes.read(prefix_match("burst"))
    assert fact is not None
    # 3 · 64 tokens are 1.5 blocks of 128: the last one counts.
    assert (fact.total, fact.block_size) == (2, 128)


def test_an_empty_prompt_is_no_group() -> None:
    pool = Pool()
    assert [pool.send("", row=1), pool.send("", row=1)] == [None, None]


def test_without_a_prompt_there_is_no_fact() -> None:
    pool = Pool()
    request = Request("r", {}, "/", NOW)
    pool.producer.produce(request, pool.table.candidates(NOW))
    pool.producer.learn(request, decided(pool.table, 0))
    assert request.attributes.read(prefix_match("burst")) is None


def test_the_replica_that_prefills_is_the_one_that_counts() -> None:
    pool = Pool()
    pool.producer.learn(pool.ask("a"), decided(pool.table, 0, prefill=3, encode=1))
    assert pool.send("a") == 3


def test_who_serves_it_in_the_end_counts_too() -> None:
    pool = Pool()
    pool.producer.learn_at(pool.ask("a"), 2)
    assert pool.send("a") == 2


def test_a_replica_that_leaves_takes_its_groups_along() -> None:
    pool = Pool(count=3, minColocateBlocks=1)
    pool.send("ab", row=0)
    pool.send("xy", row=2)
    stale = pool.ask("q")
    decision = decided(pool.table, 0)
    pool.table.replace([endpoint(1), endpoint(2), endpoint(7)])
    pool.producer.learn(stale, decision)
    assert pool.table[0].name == "pod-7"
    # The group is known, but has no place any more: the least loaded, by row.
    assert pool.send("ab") == 0
    assert pool.send("xy") == 2
    assert pool.send("q", row=1) is None


def test_several_prompts_of_one_body_are_one_thing() -> None:
    pool = Pool()
    first = pool.ask("ab")
    double = replace(first, payload=replace(first.payload, prompts=first.payload.prompts * 2))
    for _ in range(2):
        pool.tokens.produce(double, pool.table.candidates(NOW))
        pool.producer.produce(double, pool.table.candidates(NOW))
        pool.producer.learn(double, decided(pool.table, 1))
    assert pool.assigned(double) == 1
    assert pool.send("ab", row=0) is None


def test_its_facts() -> None:
    producer = Pool().producer
    assert list(producer.requires()) == [tokenized_prompt()]
    assert list(producer.produces()) == [prefix_match("burst")]
    assert producer.stability == "alpha"


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"windowDurationMs": 0}, "windowDurationMs is 0; write a number from 1 to 10000"),
        ({"windowDurationMs": 10001}, "windowDurationMs is 10001; write a number from 1 to 10000"),
        ({"maxPerReplica": 0}, "maxPerReplica is 0; write 1 or more, or -1 for all"),
        ({"maxPerReplica": -2}, "maxPerReplica is -2"),
        ({"blockSizeTokens": 0}, "blockSizeTokens is 0; write a number from 1 to 65536"),
        ({"blockSizeTokens": 65537}, "blockSizeTokens is 65537"),
        (
            {"maxPrefixTokensToMatch": 63},
            "maxPrefixTokensToMatch is 63; write 0, or at least one block of 64 tokens",
        ),
        ({"maxPrefixTokensToMatch": -1}, "maxPrefixTokensToMatch is -1"),
        ({"minColocateBlocks": -1}, "minColocateBlocks is -1; write 0 or more"),
        ({"maxBatchSize": 0}, "maxBatchSize is 0; write 1 or more, or -1 for no limit"),
        ({"balanceBy": "luck"}, "balanceBy"),
        ({"windowMs": 5}, "windowMs"),
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pool(**parameters)
    assert part in str(caught.value)
