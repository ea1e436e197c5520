"""Names a replica that holds more of the prompt than the one that computes it, to pull the cache from."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from endpoint_picker.core import attributes, wire
from endpoint_picker.core.attributes import Key, PrefixMatch
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, Rows
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class SourceParameters(Parameters, frozen=True):
    prefix_match_info_producer_name: str = "approx-prefix-cache-producer"
    min_cached_token_delta: int = 1
    """Tokens that the source must hold beyond what the computing endpoint does."""
    prefill_profile_name: str = "prefill"
    """The profile whose endpoint computes the prompt, where the profile handler does not say who does."""

    def __post_init__(self) -> None:
        if self.min_cached_token_delta < 1:
            raise ValueError(f"minCachedTokenDelta is {self.min_cached_token_delta}; write 1 or more")


class P2PSource(Plugin):
    """`p2p-source-producer`: the header `x-kv-cache-source-host-port` names who holds the most of the prompt.

    Set where that is `minCachedTokenDelta` tokens more than the endpoint holds that computes the prompt. Of
    those within a block of the most, one is drawn with weight 1 / (1 + waiting), by the request's id.
    """

    type = "p2p-source-producer"
    stability = "alpha"
    schema = SourceParameters
    parameters: SourceParameters

    def __init__(self, name: str, parameters: SourceParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._match = attributes.prefix_match(parameters.prefix_match_info_producer_name)

    def requires(self) -> Sequence[Key[Any]]:
        return (self._match,)

    def learn(self, request: Request, decision: Decision) -> None:
        match = request.attributes.read(self._match)
        prefill = decision.prefill or decision.results.get(self.parameters.prefill_profile_name)
        computing = prefill.rows[0] if prefill is not None else decision.row
        source = None if match is None else self._source(request, match, computing)
        if source is not None:
            request.fields[wire.KV_SOURCE] = self.wiring.table[source].host_port

    def learn_at(self, request: Request, row: int) -> None:
        """The header has gone out by then."""

    def _source(self, request: Request, match: PrefixMatch, computing: int) -> int | None:
        live = self.wiring.table.live
        live = live[live < len(match.blocks)]
        held = match.blocks[live]
        if not len(live) or computing >= len(match.blocks):
            return None
        most = int(held.max())
        more = (most - int(match.blocks[computing])) * match.block_size
        if more < self.parameters.min_cached_token_delta:
            return None
        source = self._drawn(request, live[held >= most - 1])
        return None if source == computing else source

    def _drawn(self, request: Request, rows: Rows) -> int:
        table, now = self.wiring.table, self.wiring.clock()
        ends = np.cumsum(1.0 / (1.0 + Candidates(table, rows, now).waiting()))
        digest = hashlib.blake2b(request.id.encode("utf-8", "replace"), digest_size=4).digest()
        place = int.from_bytes(digest, "little") / 2**32 * ends[-1]
        return int(rows[min(int(np.searchsorted(ends, place, "right")), len(rows) - 1)])
