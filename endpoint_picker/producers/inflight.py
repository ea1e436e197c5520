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
from endpoint_picker.core.attributes import InFlightLoad, Key, UncachedTokens
from endpoint_picker.core.endpoints import Candidates, EndpointTable
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


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

    def __init__(self, name: str, parameters: InFlightParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._prompt = attributes.tokenized_prompt()
        self._match = attributes.prefix_match(parameters.prefix_match_info_producer_name)
        self._load = attributes.in_flight_load(name)
        self._cost = attributes.uncached_tokens(name)

    def reads(self) -> Sequence[Key[Any]]:
        return (self._match, self._prompt)

    def produces(self) -> Sequence[Key[Any]]:
        return (self._load, self._cost)

    def produce(self, request: Request, candidates: Candidates) -> None:
        facts = request.attributes
        prompt = facts.read(self._prompt)
        tokens = prompt.total if prompt else 0
        output = self._output(tokens, request.payload.max_output_tokens)
        facts.write(self._load, self._in_flight(candidates.table))
        facts.write(self._cost, UncachedTokens(tokens, facts.read(self._match), output))

    def _in_flight(self, table: EndpointTable) -> InFlightLoad:
        # Without the output, a request's tokens weigh on an endpoint only until the prompt is computed.
        counted = self.parameters.add_estimated_output_tokens
        tokens = table.in_flight_tokens if counted else table.prefill_tokens
        return InFlightLoad(table.in_flight.astype(np.int64), tokens.astype(np.int64))

    def _output(self, tokens: int, limit: int | None) -> int:
        """Estimated output tokens: a share of the prompt, capped by the client and by configuration."""
        if not self.parameters.add_estimated_output_tokens:
            return 0
        estimate: int = math.floor(tokens * self.parameters.output_ratio + 0.5)
        for cap in (limit, self.parameters.max_estimated_output_tokens):
            if cap is not None:
                estimate = min(estimate, max(0, cap))
        return estimate
