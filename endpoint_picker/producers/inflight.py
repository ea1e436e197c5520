"""Load that the picker itself has caused, and what one more request would add to it.

Scraped gauges are some time old; what we sent is known at once. The director books each pick in the
table's columns (`core.ledger`); this producer shows them to the scorers, beside the prompt tokens that
each endpoint would have to compute, given what it holds of the prompt already.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import InFlightLoad, Key, PrefixMatch, UncachedTokens
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Rows
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin


class InFlightParameters(Parameters, frozen=True):
    add_estimated_output_tokens: bool = False
    output_ratio: float = 1.5
    max_estimated_output_tokens: int | None = None
    prefix_match_info_producer_name: str = "approx-prefix-cache-producer"
    sync_cross_replica_state: bool = True

    def __post_init__(self) -> None:
        if not (self.output_ratio >= 0 and math.isfinite(self.output_ratio)):
            raise ValueError(
                f"outputRatio is {self.output_ratio}: give output tokens for each prompt token, 0 or more"
            )
        if self.max_estimated_output_tokens is not None and self.max_estimated_output_tokens < 0:
            raise ValueError(
                f"maxEstimatedOutputTokens is {self.max_estimated_output_tokens}: "
                "give a number of tokens, 0 or more, or leave it out for no limit"
            )


class InFlight(Plugin):
    """Requests and tokens in flight at each endpoint, and the cost of this one (`inflight-load-producer`)."""

    type = "inflight-load-producer"
    schema = InFlightParameters

    def reads(self) -> Sequence[Key[Any]]:
        return (self._match_key, attributes.tokenized_prompt())

    def produces(self) -> Sequence[Key[Any]]:
        return (attributes.in_flight_load(self.name), attributes.uncached_tokens(self.name))

    def produce(self, request: Request, candidates: Candidates) -> None:
        facts, table = request.attributes, candidates.table
        prompt = facts.read(attributes.tokenized_prompt())
        tokens = prompt.total if prompt else 0
        cost = UncachedTokens(
            prompt=_uncached(facts.read(self._match_key), tokens, table.capacity),
            output=self._output(tokens, request.payload.max_output_tokens),
        )
        facts.write(attributes.in_flight_load(self.name), self._load(table))
        facts.write(attributes.uncached_tokens(self.name), cost)

    @property
    def _match_key(self) -> Key[PrefixMatch]:
        return attributes.prefix_match(self.parameters.prefix_match_info_producer_name)

    def _load(self, table: EndpointTable) -> InFlightLoad:
        # Without the output, a request's tokens weigh on an endpoint only until the prompt is computed.
        counted = self.parameters.add_estimated_output_tokens
        tokens = table.in_flight_tokens if counted else table.prefill_tokens
        return InFlightLoad(table.in_flight.copy(), tokens.copy())

    def _output(self, tokens: int, limit: int | None) -> int:
        """Estimated output tokens: a share of the prompt, capped by the client and by configuration."""
        if not self.parameters.add_estimated_output_tokens:
            return 0
        estimate: int = math.floor(tokens * self.parameters.output_ratio + 0.5)
        for cap in (limit, self.parameters.max_estimated_output_tokens):
            if cap is not None:
                estimate = min(estimate, max(0, cap))
        return estimate


def _uncached(match: PrefixMatch | None, tokens: int, capacity: int) -> Rows:
    """Prompt tokens that each endpoint would have to compute, shape (capacity,).

    max(0, (total - match) · block size) + max(0, tokens - total · block size): blocks that are not held,
    and what lies beyond the blocks that were looked at; but no more than the prompt has, since its last
    block is seldom full.
    """
    if match is None:
        return np.full(capacity, tokens, np.int64)
    beyond = max(0, tokens - match.total * match.block_size)
    uncached = np.full(capacity, match.total * match.block_size + beyond, np.int64)
    # The table may have grown since the match was made: its new rows hold nothing.
    known = min(capacity, len(match.blocks))
    uncached[:known] = np.maximum(match.total - match.blocks[:known], 0) * match.block_size + beyond
    return np.minimum(uncached, tokens)
