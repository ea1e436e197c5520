"""The scorer by predicted latency: how far each endpoint stays from what the client was promised.

No producer of this version predicts latencies. Without predictions the scorer falls back, as it does
wherever a predictor does not answer, to a mean of free cache, short queue and cached prefix.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import LatencyPrediction
from endpoint_picker.core.endpoints import Candidates, Mask, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.scheduling.scorers.prefix import APPROXIMATE

log = logging.getLogger(__name__)

PREDICTOR: Final = "predicted-latency-producer"
_NO_SPREAD: Final = 1e-9
"""Milliseconds between best and worst that count as none."""
_DIGITS: Final = 6
"""Of a percentage, before it is cut or rounded: sums in another order must not give another one."""


class LatencyParameters(Parameters, frozen=True):
    ttft_weight: float = 0.8
    tpot_weight: float = 0.2
    headroom_selection_strategy: Literal["least", "most"] = "least"
    """Least fills the endpoints that just hold the objective, most goes to the fastest."""
    composite_kv_weight: float = msgspec.field(default=1.0, name="compositeKVWeight")
    composite_queue_weight: float = 1.0
    composite_prefix_weight: float = 1.0
    latency_prediction_info_producer_name: str = PREDICTOR
    prefix_match_info_producer_name: str = APPROXIMATE

    def __post_init__(self) -> None:
        for key, weight in (
            ("ttftWeight", self.ttft_weight),
            ("tpotWeight", self.tpot_weight),
            ("compositeKVWeight", self.composite_kv_weight),
            ("compositeQueueWeight", self.composite_queue_weight),
            ("compositePrefixWeight", self.composite_prefix_weight),
        ):
            if not (weight >= 0.0 and math.isfinite(weight)):
                raise ValueError(f"{key} is {weight}; write a number from 0 up")


class Latency(Plugin):
    """`latency-scorer`: by the headroom between objective and prediction.

    Endpoints that meet both objectives are scored, if there are any; else idle ones; else those that miss
    the fewest objectives. The others get 0. See `_by_headroom` and `_composite` for the formulas.
    """

    type = "latency-scorer"
    schema = LatencyParameters
    parameters: LatencyParameters

    def __init__(self, name: str, parameters: LatencyParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._latency = attributes.latency(parameters.latency_prediction_info_producer_name or PREDICTOR)
        self._match = attributes.prefix_match(parameters.prefix_match_info_producer_name or APPROXIMATE)
        log.warning(
            "%s: nothing predicts latencies in this version; it scores by cache, queue and cached prefix",
            name,
        )

    def requires(self) -> Sequence[attributes.Key[Any]]:
        return (self._match,)

    def reads(self) -> Sequence[attributes.Key[Any]]:
        return (self._latency,)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        predicted = request.attributes.read(self._latency)
        if predicted is None or np.isnan(predicted.ttft_headroom[candidates.rows]).all():
            return self._composite(request, candidates)
        return self._by_headroom(predicted, candidates)

    def _by_headroom(self, predicted: LatencyPrediction, candidates: Candidates) -> Vector:
        """n = (|h| - min) / (max - min) of each headroom, c = Σ weight * n; hundredths of 1 - c or c.

        An endpoint without a prediction counts as one that just meets its objectives.
        """
        ttft = np.nan_to_num(predicted.ttft_headroom[candidates.rows], nan=0.0)
        tpot = np.nan_to_num(predicted.tpot_headroom[candidates.rows], nan=0.0)
        scored = (ttft >= 0.0) & (tpot >= 0.0)
        most = self.parameters.headroom_selection_strategy == "most" and bool(scored.any())
        if not scored.any():
            scored = _best_of_the_late(ttft, tpot, candidates)
        c = self._weighed(np.abs(ttft[scored]), np.abs(tpot[scored]))
        scores = np.zeros(len(candidates))
        hundredths = np.floor(np.round((c if most else 1.0 - c) * 100.0, _DIGITS)) + 1.0
        scores[scored] = np.minimum(hundredths / 100.0, 1.0)
        return scores

    def _weighed(self, ttft: Vector, tpot: Vector) -> Vector:
        """A dimension in which all are equal leaves its weight to the other."""
        first, second = self.parameters.ttft_weight, self.parameters.tpot_weight
        flat = np.ptp(ttft) <= _NO_SPREAD, np.ptp(tpot) <= _NO_SPREAD
        if flat[0] != flat[1]:
            first, second = (0.0, 1.0) if flat[0] else (1.0, 0.0)
        total = first + second
        share = first / total if total > 0.0 else 1.0
        return share * _spread(ttft) + (1.0 - share) * _spread(tpot)

    def _composite(self, request: Request, candidates: Candidates) -> Vector:
        """The weighted mean of 1 - KV usage, (longest - queue) / longest and cached share, in hundredths."""
        weights = (
            self.parameters.composite_kv_weight,
            self.parameters.composite_queue_weight,
            self.parameters.composite_prefix_weight,
        )
        free = 1.0 - candidates.kv_usage()
        total = sum(weights)
        if total <= 0.0:
            return _hundredths(free)
        parts = (free, _short_queue(candidates.waiting()), self._cached(request, candidates))
        mean = sum((part * (weight / total) for weight, part in zip(weights, parts, strict=True)), 0.0 * free)
        return _hundredths(mean)

    def _cached(self, request: Request, candidates: Candidates) -> Vector:
        match = request.attributes.read(self._match)
        if match is None or match.total <= 0:
            return np.zeros(len(candidates))
        share: Vector = match.blocks[candidates.rows] / match.total
        return share


def _best_of_the_late(ttft: Vector, tpot: Vector, candidates: Candidates) -> Mask:
    """Of endpoints that miss an objective: the idle ones, else those that miss the more bearable one."""
    idle = candidates.table.in_flight[candidates.rows] == 0
    tiers = (idle, (ttft >= 0.0) & (tpot < 0.0), (ttft < 0.0) & (tpot >= 0.0))
    return next((tier for tier in tiers if tier.any()), np.ones(len(candidates), np.bool_))


def _spread(values: Vector) -> Vector:
    """0 for the least, 1 for the most, linear in between; 0.5 where all are equal."""
    least, width = values.min(), np.ptp(values)
    if width <= _NO_SPREAD:
        return np.full(len(values), 0.5)
    spread: Vector = (values - least) / width
    return spread


def _short_queue(waiting: Vector) -> Vector:
    longest = waiting.max(initial=0.0)
    if longest <= 0.0:
        return np.ones(len(waiting))
    short: Vector = (longest - waiting) / longest
    return short


def _hundredths(values: Vector) -> Vector:
    """Rounded, halves up."""
    rounded: Vector = np.floor(np.round(values * 100.0, _DIGITS) + 0.5) / 100.0
    return np.clip(rounded, 0.0, 1.0)
