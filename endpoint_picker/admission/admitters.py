"""Who may go now. Both refuse requests of negative priority only, and nobody for want of telemetry."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.admission.saturation import check_thresholds
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key, LatencyPrediction
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

SLO_HEADERS: Final = (
    ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"),
    ("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"),
)
"""Objectives of a request in milliseconds: time to first token, time per output token; old names last."""
COLD: Final = 0.02
"""Share of the KV cache below which an endpoint has done too little for predictions to be trusted."""


class ProbabilisticParameters(Parameters, frozen=True):
    queue_depth_threshold: float = 5.0
    """Waiting requests at which an endpoint's saturation is 1."""
    kv_cache_util_threshold: float = 0.8
    """Used share of the KV cache at which it is."""
    power: float = 5.0
    """How steeply the probability rises with the saturation."""
    k: float = 300.0
    """Factor of the probability; 0 refuses nobody."""

    def __post_init__(self) -> None:
        check_thresholds(self.queue_depth_threshold, self.kv_cache_util_threshold)
        if not (self.power > 0.0 and math.isfinite(self.power)):
            raise ValueError(f"power is {self.power}; write a number above 0 such as 5")
        if not (self.k >= 0.0 and math.isfinite(self.k)):
            raise ValueError(f"k is {self.k}; write a factor such as 300, 0 or more")


class Probabilistic(Plugin):
    """`probabilistic-admitter`: refuses with the probability min(s^power · k, 1).

    s is the mean of max(queue / threshold, KV usage / threshold) over the endpoints that are seen: with
    the usual parameters a pool of s = 0.32 refuses everybody, so an assumption would be a verdict.
    """

    type = "probabilistic-admitter"
    schema = ProbabilisticParameters
    parameters: ProbabilisticParameters

    def admit(self, request: Request, candidates: Candidates) -> str:
        if request.priority >= 0:
            return ""
        saturation = self._saturation(candidates)
        if self.wiring.rng.random() >= self._chance(saturation):
            return ""
        return f"the pool is too busy for requests of negative priority (saturation {saturation:.2f})"

    def _saturation(self, candidates: Candidates) -> float:
        table, rows = candidates.table, candidates.rows
        seen = candidates.where(
            table.fresh(candidates.now)[rows]
            & ~np.isnan(table.waiting[rows])
            & ~np.isnan(table.kv_usage[rows])
        )
        if not len(seen):
            return 0.0
        queue = seen.waiting() / self.parameters.queue_depth_threshold
        return float(np.maximum(queue, seen.kv_usage() / self.parameters.kv_cache_util_threshold).mean())

    def _chance(self, saturation: float) -> float:
        """s^power · k by way of logarithms, which no parameters make overflow."""
        wanted = self.parameters
        if saturation <= 0.0 or wanted.k == 0.0:
            return 0.0
        return math.exp(min(0.0, wanted.power * math.log(saturation) + math.log(wanted.k)))


class SloParameters(Parameters, frozen=True):
    latency_prediction_info_producer_name: str = "predicted-latency-producer"
    """Whose predictions count."""


class LatencySlo(Plugin):
    """`latency-slo-admitter`: refuses where no endpoint is predicted to keep the request's objectives.

    A request without an objective is admitted, and so is one while some endpoint is idle or cold, or
    while nobody predicts anything.
    """

    type = "latency-slo-admitter"
    schema = SloParameters

    def __init__(self, name: str, parameters: SloParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._latency = attributes.latency(parameters.latency_prediction_info_producer_name)

    def reads(self) -> Sequence[Key[Any]]:
        return (self._latency,)

    def admit(self, request: Request, candidates: Candidates) -> str:
        if request.priority >= 0 or not _has_objective(request.headers):
            return ""
        found = request.attributes.read(self._latency)
        if found is None or _some_keeps_it(found, candidates):
            return ""
        if (candidates.running() == 0.0).any() or (candidates.kv_usage() < COLD).any():
            return ""
        return "no endpoint is predicted to keep the latency objectives of the request"


def _has_objective(headers: Mapping[str, str]) -> bool:
    return any(_milliseconds(headers, names) > 0.0 for names in SLO_HEADERS)


def _milliseconds(headers: Mapping[str, str], names: tuple[str, ...]) -> float:
    """The first of these headers that is there; 0 where it is none, or no number."""
    text = next((headers[name] for name in names if headers.get(name)), "")
    try:
        return float(text)
    except ValueError:
        return 0.0


def _some_keeps_it(found: LatencyPrediction, candidates: Candidates) -> bool:
    """Whether a candidate is predicted to be in time, or none of them has a prediction."""
    # Rows that the table has got since then were not predicted.
    rows = candidates.rows[candidates.rows < len(found.ttft_headroom)]
    first, later = found.ttft_headroom[rows], found.tpot_headroom[rows]
    predicted = ~(np.isnan(first) & np.isnan(later))
    return not predicted.any() or bool(((first >= 0.0) & (later >= 0.0)).any())
