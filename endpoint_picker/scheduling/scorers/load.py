"""Scorers that prefer the endpoints with less to do.

Scraped gauges come through the candidates, which put an assumption in the place of what is missing or too
old; what the picker itself has in flight comes as a fact of the request.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

INFLIGHT: Final = "inflight-load-producer"
QUEUE_THRESHOLD: Final = 4194304
"""Tokens in flight at which an endpoint counts as full."""
QUEUE_LENGTH: Final = 128
"""Waiting requests at which an endpoint counts as full."""

_ONE: Final = np.array(1.0)


class Queue(Plugin):
    """`queue-scorer`: (longest - queue) / (longest - shortest) over the candidates' waiting requests."""

    type = "queue-scorer"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return spread(candidates.waiting())


class Running(Plugin):
    """`running-requests-size-scorer`: (longest - running) / (longest - shortest) over the candidates."""

    type = "running-requests-size-scorer"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return spread(candidates.running())


class KvUsage(Plugin):
    """`kv-cache-utilization-scorer`: the free share of the KV cache."""

    type = "kv-cache-utilization-scorer"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        free: Vector = np.subtract(_ONE, candidates.kv_usage())
        return free


class ThresholdParameters(Parameters, frozen=True):
    """How long a queue is a full load."""

    threshold: int = QUEUE_LENGTH
    """0 or less means the default."""


class LoadAware(Plugin):
    """`load-aware-scorer`: 0.5 for an empty queue, less the longer it is, 0 from the threshold on.

    0.5 * (1 - min(queue, threshold) / threshold).
    """

    type = "load-aware-scorer"
    schema = ThresholdParameters

    def __init__(self, name: str, parameters: ThresholdParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._threshold = float(parameters.threshold if parameters.threshold > 0 else QUEUE_LENGTH)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return 0.5 * (1.0 - np.minimum(candidates.waiting(), self._threshold) / self._threshold)


class ActiveParameters(Parameters, frozen=True):
    """When an endpoint counts as idle, and what a busy one gets at best."""

    idle_threshold: int = 0
    """Requests; negative means 0."""
    max_busy_score: float = 1.0
    """Outside 0..1 it means 1."""
    in_flight_load_producer_name: str = INFLIGHT
    request_timeout: Any = None
    """Deprecated, without effect."""


class ActiveRequests(Plugin):
    """`active-request-scorer`: few requests in flight are better; up to `idleThreshold` counts as none.

    count ≤ idle → 1, else (most - count) / most * maxBusyScore.
    """

    type = "active-request-scorer"
    schema = ActiveParameters

    def __init__(self, name: str, parameters: ActiveParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._load = attributes.in_flight_load(parameters.in_flight_load_producer_name)
        self._idle = max(0, parameters.idle_threshold)
        self._busy = parameters.max_busy_score if 0.0 <= parameters.max_busy_score <= 1.0 else 1.0

    def requires(self) -> Sequence[attributes.Key[Any]]:
        return (self._load,)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        load = request.attributes.read(self._load)
        if load is None:
            return np.ones(len(candidates))
        counts = load.requests[candidates.rows]
        most = int(counts.max(initial=0))
        if most <= self._idle:
            return np.ones(len(candidates))
        scores: Vector = (most - counts).astype(np.float64) * (self._busy / most)
        scores[counts <= self._idle] = 1.0
        return scores


class TokenLoadParameters(Parameters, frozen=True):
    """How many tokens are a full load."""

    queue_threshold_tokens: int = QUEUE_THRESHOLD
    """0 or less means the default."""
    in_flight_load_producer_name: str = INFLIGHT


class TokenLoad(Plugin):
    """`token-load-scorer`: few tokens in flight, with what this request would add, are better.

    1 - min(tokens, threshold) / threshold.
    """

    type = "token-load-scorer"
    schema = TokenLoadParameters

    def __init__(self, name: str, parameters: TokenLoadParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        producer = parameters.in_flight_load_producer_name
        self._load = attributes.in_flight_load(producer)
        self._cost = attributes.uncached_tokens(producer)
        threshold = parameters.queue_threshold_tokens
        self._threshold = float(threshold if threshold > 0 else QUEUE_THRESHOLD)

    def requires(self) -> Sequence[attributes.Key[Any]]:
        return (self._load, self._cost)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        tokens = np.zeros(len(candidates))
        load = request.attributes.read(self._load)
        if load is not None:
            tokens += load.tokens[candidates.rows]
        cost = request.attributes.read(self._cost)
        if cost is not None:
            tokens += cost.on(candidates.rows) + cost.output
        return 1.0 - np.clip(tokens, 0.0, self._threshold) / self._threshold


def spread(load: Vector) -> Vector:
    """1 for the least loaded, 0 for the most loaded, linear in between; all equal → 1."""
    if not load.size:
        return load
    # argmax and indexing take a third of the time of max. `[most, ...]` is an array, which a ufunc takes as
    # it is; to convert a number takes half as long again.
    most, least = load.argmax(), load.argmin()
    if load[most] == load[least]:
        return np.ones(len(load))
    below = load[most, ...] - load
    scores: Vector = below / below[least, ...]
    return scores
