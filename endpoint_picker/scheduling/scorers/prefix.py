"""The scorer that prefers the endpoints which hold the beginning of the prompt already."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

APPROXIMATE: Final = "approx-prefix-cache-producer"


class PrefixParameters(Parameters, frozen=True):
    """Whose matches count, and how much their absolute length does."""

    prefix_match_info_producer_name: str = APPROXIMATE
    match_length_weight: float = 0.0
    match_length_scale_tokens: int = 8192

    def __post_init__(self) -> None:
        if not 0.0 <= self.match_length_weight <= 1.0:
            raise ValueError(f"matchLengthWeight is {self.match_length_weight}; write a number from 0 to 1")
        if self.match_length_weight > 0.0 and self.match_length_scale_tokens <= 0:
            raise ValueError(
                f"matchLengthScaleTokens is {self.match_length_scale_tokens}; "
                "with a matchLengthWeight it must be more than 0"
            )


class PrefixCache(Plugin):
    """`prefix-cache-scorer`: the share of the prompt that an endpoint holds.

    r = match / total; a = min(1, match * block size / scale)²; score = w * a + (1 - w) * r; 0 where
    nothing is known.
    """

    type = "prefix-cache-scorer"
    schema = PrefixParameters

    def __init__(self, name: str, parameters: PrefixParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._match = attributes.prefix_match(parameters.prefix_match_info_producer_name)
        self._weight = parameters.match_length_weight
        self._scale = parameters.match_length_scale_tokens

    def requires(self) -> Sequence[attributes.Key[Any]]:
        return (self._match,)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        match = request.attributes.read(self._match)
        if match is None or match.total <= 0:
            return np.zeros(len(candidates))
        blocks = match.blocks[candidates.rows]
        share: Vector = blocks / match.total
        if not self._weight:
            return share
        length: Vector = np.minimum(1.0, blocks * (match.block_size / self._scale)) ** 2
        return self._weight * length + (1.0 - self._weight) * share


class MulticlusterPrefixCache(PrefixCache):
    """`multicluster-prefix-cache-scorer`: as `prefix-cache-scorer`, where endpoints are clusters."""

    type = "multicluster-prefix-cache-scorer"
    stability = "alpha"
