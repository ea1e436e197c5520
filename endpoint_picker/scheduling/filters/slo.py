"""The filter that separates the endpoints which are predicted to hold a client's objectives from the rest."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

PREDICTOR: Final = "predicted-latency-producer"


class HeadroomParameters(Parameters, frozen=True):
    epsilon_explore_neg: float = 0.01
    """How often the endpoints that miss an objective are tried, where others hold them."""
    latency_prediction_info_producer_name: str = PREDICTOR

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon_explore_neg <= 1.0:
            raise ValueError(f"epsilonExploreNeg is {self.epsilon_explore_neg}; write a number from 0 to 1")


class HeadroomTier(Plugin):
    """`slo-headroom-tier-filter`: keeps those with headroom in both TTFT and TPOT.

    An endpoint without a prediction belongs to the others. All stay where nothing is predicted, or only one
    of the two tiers has members; with `epsilonExploreNeg` the other tier is kept instead.
    """

    type = "slo-headroom-tier-filter"
    schema = HeadroomParameters
    parameters: HeadroomParameters

    def __init__(self, name: str, parameters: HeadroomParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._latency = attributes.latency(parameters.latency_prediction_info_producer_name or PREDICTOR)
        log.warning("%s: nothing predicts latencies in this version, so it keeps everybody", name)

    def reads(self) -> Sequence[attributes.Key[Any]]:
        return (self._latency,)

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        predicted = request.attributes.read(self._latency)
        if predicted is None:
            return np.ones(len(candidates), np.bool_)
        # A comparison with NaN is false.
        ttft, tpot = predicted.ttft_headroom[candidates.rows], predicted.tpot_headroom[candidates.rows]
        positive: Mask = (ttft >= 0.0) & (tpot >= 0.0)
        if not positive.any() or positive.all():
            return np.ones(len(candidates), np.bool_)
        explores = self.wiring.rng.random() < self.parameters.epsilon_explore_neg
        return ~positive if explores else positive
