"""How much of a prompt each endpoint has in its cache, guessed from where earlier prompts went.

Sending a request where its beginning is cached saves the time to compute it, the largest gain that
routing has to offer. The engines are not asked; an LRU for each endpoint, as large as the engine's own
cache, stands in for them.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, PrefixMatch, TokenizedPrompt
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Candidates, Endpoint, Rows
from endpoint_picker.core.records import record
from endpoint_picker.core.request import Request, Usage
from endpoint_picker.kvindex.approximate import ApproximateIndex, Statistics
from endpoint_picker.kvindex.hashing import Hashes, block_hashes, prompt_seed
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

SMALLEST_BLOCK: Final = 64
"""Tokens; smaller blocks cost more than their finer matches are worth."""
LARGEST_BLOCK: Final = 1 << 16
"""Tokens; a larger block is a mistake, or a lie, and would cost memory of its size."""
LARGEST_LRU: Final = 1 << 20
"""Blocks: bounds memory whatever an endpoint's metrics say."""
DEFAULT_BLOCK: Final = 16
SLACK: Final = 0.1
"""Share of a prompt by which thought and truth may differ: templates add tokens that we do not see, engines
compute the end of each prompt anew, and cut it into blocks of their own."""


class PrefixParameters(Parameters, frozen=True):
    auto_tune: bool = True
    block_size_tokens: int = DEFAULT_BLOCK
    block_size: int = 0
    """Old name of the former; counts where that was left at its default."""
    max_prefix_tokens_to_match: int = 131072
    max_prefix_blocks_to_match: int = 2048
    """Counts only where the tokens are not capped."""
    lru_capacity_per_server: int = 31250

    def __post_init__(self) -> None:
        for key, value, least in (
            ("blockSizeTokens", self.block_size_tokens, 0 if self.auto_tune else 1),
            ("blockSize", self.block_size, 0),
            ("maxPrefixTokensToMatch", self.max_prefix_tokens_to_match, 0),
            ("maxPrefixBlocksToMatch", self.max_prefix_blocks_to_match, 0),
            ("lruCapacityPerServer", self.lru_capacity_per_server, 0),
        ):
            if value < least:
                hint = " where autoTune is false" if least else ""
                raise ValueError(f"{key} is {value}: it must be at least {least}{hint}")
        if self.configured_block > LARGEST_BLOCK:
            key = "blockSize" if self.block_size_tokens == DEFAULT_BLOCK else "blockSizeTokens"
            raise ValueError(f"{key} is {self.configured_block}: it must be at most {LARGEST_BLOCK}")

    @property
    def configured_block(self) -> int:
        """Tokens a block, before the engines have told theirs."""
        return max(self.written_block, SMALLEST_BLOCK)

    @property
    def written_block(self) -> int:
        """The same, without a lower bound."""
        old = self.block_size if self.block_size_tokens == DEFAULT_BLOCK else 0
        return old or self.block_size_tokens

    def blocks_to_match(self, block_size: int) -> int | None:
        """Blocks of a prompt that are looked at; None: all."""
        if self.max_prefix_tokens_to_match:
            return self.max_prefix_tokens_to_match // block_size
        return self.max_prefix_blocks_to_match or None


@record
class Prefixes:
    """The block hashes of a request, kept from the pick until it is learned from."""

    prompts: tuple[Hashes, ...]
    block_size: int


@record
class Belief:
    """What was thought of the endpoint that was picked."""

    row: int
    blocks: int
    """Leading blocks of the prompt that it was thought to hold."""
    total: int
    """Blocks of the prompt."""


class ApproximatePrefix(Plugin):
    """Leading blocks of the prompt that each endpoint holds, guessed (`approx-prefix-cache-producer`)."""

    type = "approx-prefix-cache-producer"
    schema = PrefixParameters

    def __init__(self, name: str, parameters: PrefixParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self.block_size = parameters.configured_block
        """Tokens a block, in force."""
        if not parameters.auto_tune and parameters.written_block < SMALLEST_BLOCK:
            written = parameters.written_block
            log.warning("%s: blocks of %d tokens are too small, %d are used", name, written, SMALLEST_BLOCK)
        self._prompt = attributes.tokenized_prompt()
        self._match = attributes.prefix_match(name)
        self._prefixes: Key[Prefixes] = Key("PrefixHashes", name)
        self._belief: Key[Belief] = Key("PrefixBelief", name)
        self._generations: Rows = wiring.table.generation.copy()
        self._version = wiring.table.version
        self._told_by = (-1, b"")
        """The version of the table and the block sizes in it that were looked at last."""
        self._index = self._fresh_index()

    def requires(self) -> Sequence[Key[Any]]:
        return (self._prompt,)

    def produces(self) -> Sequence[Key[Any]]:
        return (self._match,)

    def produce(self, request: Request, candidates: Candidates) -> None:
        prompt = request.attributes.read(self._prompt)
        if prompt is None:
            return
        self._forget_departed()
        self._tune()
        prefixes = self._hash(request, prompt)
        rows = self.wiring.table.capacity
        matches = [self._index.match(hashes, rows=rows) for hashes in prefixes.prompts]
        blocks = matches[0] if len(matches) == 1 else sum(matches, np.zeros(rows, np.int64))
        total = sum(map(len, prefixes.prompts))
        request.attributes.write(self._prefixes, prefixes)
        request.attributes.write(self._match, PrefixMatch(blocks, total, self.block_size))

    def learn(self, request: Request, decision: Decision) -> None:
        self._count_hit(request, decision.row)
        self._learn_from(request, decision.primary)
        # Whoever computes the prompt holds it afterwards; whoever decodes fetches it from there.
        if decision.prefill is not None:
            self._learn_from(request, decision.prefill)
        self.wiring.metrics.prefix_size(self.name, self.type, self._index.held)

    def learn_at(self, request: Request, row: int) -> None:
        """The endpoint in `row` holds the prompt: for when another one served it than was picked."""
        prefixes = request.attributes.read(self._prefixes)
        self._forget_departed()
        # A free row (an even generation) holds no endpoint any more.
        if prefixes is None or prefixes.block_size != self.block_size or self._generations[row] % 2 == 0:
            return
        capacity = self._capacity(row)
        for hashes in prefixes.prompts:
            self._index.insert(row, hashes, capacity)

    def audit(self, request: Request, decision: Decision, row: int, usage: Usage) -> None:
        """An endpoint that took less from its cache than was thought loses what it turned out to lack.

        Our tokens are estimates and the engine's are not, so shares of the prompt are compared.
        """
        belief = request.attributes.read(self._belief)
        if belief is None or not usage.prompt_tokens or usage.cached_tokens is None:
            return
        share = min(usage.cached_tokens / usage.prompt_tokens, 1.0)
        thought = belief.blocks / belief.total
        self.wiring.metrics.prefix_truth(
            self.name, self.type, thought * usage.prompt_tokens, share * usage.prompt_tokens
        )
        # With prefill elsewhere, what the endpoint took came from there.
        if row == belief.row and decision.prefill is None:
            self._correct(request, belief, share)

    def adopt(self, old: Plugin) -> None:
        """The index, where its blocks are cut as ours would be."""
        if not isinstance(old, ApproximatePrefix):
            return
        mine, theirs = self.parameters, old.parameters
        if (mine.auto_tune, mine.configured_block) == (theirs.auto_tune, theirs.configured_block):
            self.block_size, self._told_by = old.block_size, old._told_by
            self._generations, self._version = old._generations, old._version
            self._index = old._index

    def _correct(self, request: Request, belief: Belief, share: float) -> None:
        prefixes = request.attributes.read(self._prefixes)
        held = share * belief.total
        slack = max(1.0, SLACK * belief.total)
        if prefixes is None or len(prefixes.prompts) != 1 or held + slack >= belief.blocks:
            return
        if prefixes.block_size == self.block_size and self._generations[belief.row] % 2:
            self._index.forget(belief.row, prefixes.prompts[0][int(held) : belief.blocks])

    def statistics(self) -> Statistics:
        """How large the index is."""
        return self._index.statistics()

    def _learn_from(self, request: Request, result: ProfileResult) -> None:
        if self._still_there(result.rows[0], result.endpoints[0]):
            self.learn_at(request, result.rows[0])

    def _still_there(self, row: int, endpoint: Endpoint) -> bool:
        """Whether the row holds the endpoint that was picked: time may have passed since."""
        table = self.wiring.table
        if table.row_of(endpoint.id) != row:
            return False
        now = table[row]
        return (now.address, now.port) == (endpoint.address, endpoint.port)

    def _hash(self, request: Request, prompt: TokenizedPrompt) -> Prefixes:
        size = self.block_size
        seed = prompt_seed(request.target_model or request.model, request.payload.cache_salt)
        most = self.parameters.blocks_to_match(size)
        end = None if most is None else most * size
        return Prefixes(tuple(block_hashes(tokens[:end], size, seed) for tokens in prompt.prompts), size)

    def _count_hit(self, request: Request, row: int) -> None:
        match = request.attributes.read(self._match)
        if match is not None and match.total and row < len(match.blocks):
            hit = int(match.blocks[row])
            request.attributes.write(self._belief, Belief(row, hit, match.total))
            self.wiring.metrics.prefix_hit(self.name, self.type, hit, match.total, match.block_size)

    def _forget_departed(self) -> None:
        """Drop the rows that hold another endpoint than before, or none."""
        table = self.wiring.table
        if table.version == self._version:
            return
        known = len(self._generations)
        for row in np.flatnonzero(table.generation[:known] != self._generations).tolist():
            self._index.drop(row)
        self._generations, self._version = table.generation.copy(), table.version

    def _tune(self) -> None:
        """Use the block size that the engines tell; another one means other hashes, so all starts afresh."""
        table = self.wiring.table
        # Looked at only when it has changed: to compare the bytes takes a fiftieth of the time.
        told_by = (table.version, table.block_size.tobytes())
        if not self.parameters.auto_tune or told_by == self._told_by:
            return
        self._told_by = told_by
        # Of the whole pool: what one request's candidates tell would change to and fro.
        told = table.block_size[table.live]
        told = np.maximum(told[(told > 0) & (told <= LARGEST_BLOCK)], SMALLEST_BLOCK)
        if (told == self.block_size).all():
            return
        # What most of them tell, so that one that is wrong empties nobody's index.
        sizes, counts = np.unique(told, return_counts=True)
        common = sizes[counts == counts.max()]
        if self.block_size not in common:
            self.block_size = int(common[-1])
            self._index = self._fresh_index()

    def _fresh_index(self) -> ApproximateIndex:
        return ApproximateIndex(secret=self.wiring.rng.getrandbits(63))

    def _capacity(self, row: int) -> int:
        """How many of our blocks fit into the endpoint's cache."""
        table = self.wiring.table
        tokens = int(table.num_blocks[row]) * int(table.block_size[row])
        if self.parameters.auto_tune and tokens > 0:
            return min(max(1, tokens // self.block_size), LARGEST_LRU)
        fallback: int = self.parameters.lru_capacity_per_server
        return min(fallback, LARGEST_LRU)
