"""Bursts of equal prompts, kept together while no cache knows them yet.

A deliberate difference to the reference: there each request is held for `windowDurationMs`, and what came in
that time is shared out as a whole. Here nobody waits. The first request of a group goes where the other
scorers send it, and those that follow within the window follow it.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, PrefixMatch, TokenizedPrompt
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.kvindex.bursts import LARGEST_BATCH, Bursts, Limits, Member
from endpoint_picker.kvindex.hashing import block_hashes, prompt_seed
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.producers.departures import Departures
from endpoint_picker.producers.prefix_approx import LARGEST_BLOCK

LONGEST_WINDOW: Final = 10_000
"""Milliseconds."""
MOST_BLOCKS: Final = 2048
"""Of a prompt that are compared, where tokens are not capped."""
UNLIMITED: Final = -1


class BurstParameters(Parameters, frozen=True):
    window_duration_ms: int = 100
    max_per_replica: int = UNLIMITED
    block_size_tokens: int = 64
    max_prefix_tokens_to_match: int = 0
    min_colocate_blocks: int = 0
    max_batch_size: int = 1000
    balance_by: Literal["requests", "tokens"] = "requests"

    def __post_init__(self) -> None:
        size, tokens = self.block_size_tokens, self.max_prefix_tokens_to_match
        for key, value, fine, right in (
            (
                "windowDurationMs",
                self.window_duration_ms,
                1 <= self.window_duration_ms <= LONGEST_WINDOW,
                f"a number from 1 to {LONGEST_WINDOW}",
            ),
            ("maxPerReplica", self.max_per_replica, _limit(self.max_per_replica), "1 or more, or -1 for all"),
            ("blockSizeTokens", size, 1 <= size <= LARGEST_BLOCK, f"a number from 1 to {LARGEST_BLOCK}"),
            (
                "maxPrefixTokensToMatch",
                tokens,
                not tokens or tokens >= size,
                f"0, or at least one block of {size} tokens",
            ),
            ("minColocateBlocks", self.min_colocate_blocks, self.min_colocate_blocks >= 0, "0 or more"),
            (
                "maxBatchSize",
                self.max_batch_size,
                _limit(self.max_batch_size),
                "1 or more, or -1 for no limit",
            ),
        ):
            if not fine:
                raise ValueError(f"{key} is {value}; write {right}")

    @property
    def limits(self) -> Limits:
        batch = self.max_batch_size if self.max_batch_size > 0 else LARGEST_BATCH
        return Limits(
            window=self.window_duration_ms / 1000.0,
            most_of_group=self.max_per_replica if self.max_per_replica > 0 else None,
            most_requests=min(batch, LARGEST_BATCH),
            by_blocks=self.balance_by == "tokens",
            lead_blocks=self.min_colocate_blocks,
        )


class BurstPrefix(Plugin):
    """A full match with the one endpoint that a group is sent to (`burst-prefix-cache-producer`).

    Requests with equal prompts are a group: it goes where its first request was picked to go, up to
    `maxPerReplica`, then to the least loaded endpoint. With `minColocateBlocks` also a prompt of another end
    goes next to one that shares so many leading blocks, as long as that endpoint has no more than its share
    of the window's load, counted as `balanceBy` says. Everybody else matches nowhere.
    """

    type = "burst-prefix-cache-producer"
    stability = "alpha"
    schema = BurstParameters
    parameters: BurstParameters

    def __init__(self, name: str, parameters: BurstParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._prompt = attributes.tokenized_prompt()
        self._match = attributes.prefix_match(name)
        self._member: Key[Member] = Key("BurstMember", name)
        self._departures = Departures(wiring.table)
        self._bursts = Bursts(parameters.limits)
        size = parameters.block_size_tokens
        self._tokens = (parameters.max_prefix_tokens_to_match // size or MOST_BLOCKS) * size
        """Tokens of a prompt that are compared."""

    def requires(self) -> Sequence[Key[Any]]:
        return (self._prompt,)

    def produces(self) -> Sequence[Key[Any]]:
        return (self._match,)

    def produce(self, request: Request, candidates: Candidates) -> None:
        prompt = request.attributes.read(self._prompt)
        if prompt is None:
            return
        self._bursts.drop(self._departures.rows())
        member = self._grouped_by(request, prompt, candidates.now)
        blocks = np.zeros(self.wiring.table.capacity, np.int64)
        if member.blocks:
            request.attributes.write(self._member, member)
            row = self._bursts.assign(member, candidates)
            if row is not None:
                blocks[row] = member.blocks
        match = PrefixMatch(blocks, member.blocks, self.parameters.block_size_tokens)
        request.attributes.write(self._match, match)

    def learn(self, request: Request, decision: Decision) -> None:
        """The endpoint that computes the prompt counts: that of the prefill, where there is one."""
        result = decision.prefill or decision.primary
        if self.wiring.table.row_of(result.endpoints[0].id) == result.rows[0]:
            self.learn_at(request, result.rows[0])

    def learn_at(self, request: Request, row: int) -> None:
        """The endpoint in `row` serves the request."""
        member = request.attributes.read(self._member)
        self._bursts.drop(self._departures.rows())
        if member is not None and self.wiring.table.generation[row] % 2:
            self._bursts.book(member, row)

    def _grouped_by(self, request: Request, prompt: TokenizedPrompt, now: float) -> Member:
        size, least = self.parameters.block_size_tokens, self.parameters.min_colocate_blocks
        seed = prompt_seed(request.target_model or request.model, request.payload.cache_salt)
        hashes = [
            block_hashes(tokens[: self._tokens], size, seed) for tokens in prompt.prompts if len(tokens)
        ]
        # The last hash of a prompt stands for all of it.
        ends = hashlib.blake2b(b"".join(each[-1].tobytes() for each in hashes), digest_size=16).digest()
        lead = int(hashes[0][least - 1]) if least and hashes and len(hashes[0]) >= least else None
        return Member(ends, lead, sum(map(len, hashes)), now)


def _limit(value: int) -> bool:
    return value == UNLIMITED or value >= 1
