"""The filter that keeps a conversation where its beginning is cached, unless that place is too busy."""

import logging
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import Candidates, Mask, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

MATCHES: Final = "approx-prefix-cache-producer"
LOADS: Final = "inflight-load-producer"
PREDICTOR: Final = "predicted-latency-producer"
_NEVER: Final = float(np.finfo(np.float64).max)
"""Milliseconds to the first token where nobody predicts them; finite, so that differences are numbers."""


class AffinityParameters(Parameters, frozen=True):
    affinity_threshold: float = 0.8
    """Cached share of the prompt from which an endpoint is one to stick to; 0 or less: the filter is off."""
    exploration_probability: float = 0.0
    max_ttft_penalty_ms: float = msgspec.field(default=18000.0, name="maxTTFTPenaltyMs")
    """0: stick whatever it costs."""
    ttft_source: Literal["prefillThroughput", "latencyPredictor"] = "prefillThroughput"
    peak_prefill_throughput: float = 15928.0
    """Tokens a second; 0: tokens in flight are taken to cost no time."""
    prefix_match_info_producer_name: str = MATCHES
    latency_prediction_info_producer_name: str = PREDICTOR
    in_flight_load_producer_name: str = LOADS

    def __post_init__(self) -> None:
        if not self.affinity_threshold <= 1.0:
            raise ValueError(
                f"affinityThreshold is {self.affinity_threshold}; write a share up to 1, or 0 for no filter"
            )
        if not 0.0 <= self.exploration_probability <= 1.0:
            raise ValueError(
                f"explorationProbability is {self.exploration_probability}; write a number from 0 to 1"
            )
        for key, value in (
            ("maxTTFTPenaltyMs", self.max_ttft_penalty_ms),
            ("peakPrefillThroughput", self.peak_prefill_throughput),
        ):
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"{key} is {value}; write a number from 0 up")


class PrefixAffinity(Plugin):
    """`prefix-cache-affinity-filter`: keeps the endpoints that hold `affinityThreshold` of the prompt.

    All stay where nobody holds so much, where the best of those would start later than the best of the
    others by more than `maxTTFTPenaltyMs`, and, by chance, with `explorationProbability`. The time to the
    first token is predicted, or in-flight tokens / `peakPrefillThroughput`.
    """

    type = "prefix-cache-affinity-filter"
    schema = AffinityParameters
    parameters: AffinityParameters

    def __init__(self, name: str, parameters: AffinityParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._match = attributes.prefix_match(parameters.prefix_match_info_producer_name or MATCHES)
        self._load = attributes.in_flight_load(parameters.in_flight_load_producer_name or LOADS)
        self._latency = attributes.latency(parameters.latency_prediction_info_producer_name or PREDICTOR)
        self._predicted = parameters.ttft_source == "latencyPredictor"
        if self._predicted:
            log.warning("%s: nothing predicts latencies in this version; it always sticks to caches", name)

    def requires(self) -> Sequence[attributes.Key[Any]]:
        return (self._match,) if self._predicted else (self._match, self._load)

    def reads(self) -> Sequence[attributes.Key[Any]]:
        return (self._latency,) if self._predicted else ()

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        everybody = np.ones(len(candidates), np.bool_)
        if len(candidates) < 2 or self._explores():
            return everybody
        sticky = self._sticky(request, candidates)
        if not sticky.any() or sticky.all():
            return everybody
        most = self.parameters.max_ttft_penalty_ms
        if not most:
            return sticky
        ttft = self._ttft(request, candidates)
        return everybody if ttft[sticky].min() - ttft[~sticky].min() > most else sticky

    def _explores(self) -> bool:
        probability = self.parameters.exploration_probability
        return probability > 0.0 and self.wiring.rng.random() < probability

    def _sticky(self, request: Request, candidates: Candidates) -> Mask:
        match, threshold = request.attributes.read(self._match), self.parameters.affinity_threshold
        if match is None or match.total <= 0 or threshold <= 0.0:
            return np.zeros(len(candidates), np.bool_)
        sticky: Mask = match.blocks[candidates.rows] / match.total >= threshold
        return sticky

    def _ttft(self, request: Request, candidates: Candidates) -> Vector:
        """Milliseconds to the first token, shape (n,)."""
        if self._predicted:
            predicted = request.attributes.read(self._latency)
            if predicted is None:
                return np.full(len(candidates), _NEVER)
            return np.nan_to_num(predicted.ttft[candidates.rows], nan=_NEVER)
        load, peak = request.attributes.read(self._load), self.parameters.peak_prefill_throughput
        if load is None or not peak:
            return np.zeros(len(candidates))
        ttft: Vector = load.tokens[candidates.rows] / peak * 1000.0
        return ttft
