"""How full the pool is, by what its replicas say of themselves or by what the picker has sent them.

Both detectors are filters as well: what makes the pool full, summed over all, makes one endpoint full.
"""

import logging
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, Literal

import numpy as np

from endpoint_picker.config.units import Duration
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import Candidates, Mask, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

FULL: Final = 1.0
EMPTY_POOL: Final = 1.0
"""Where there is no endpoint there is no room."""
ALMOST: Final = 0.99
"""The share of a limit that an endpoint which nobody can see is taken to use at most."""


def check_headroom(headroom: float) -> None:
    """Raises ValueError unless it is a share to allow on top of a limit."""
    if not (headroom >= 0.0 and isfinite(headroom)):
        raise ValueError(f"headroom is {headroom}; write a share on top of the limit such as 0.1, 0 or more")


def check_thresholds(queue: float, kv_usage: float) -> None:
    """Raises ValueError unless both are limits that a replica can reach."""
    if not (queue > 0 and isfinite(queue)):
        raise ValueError(f"queueDepthThreshold is {queue}; write a number of requests above 0")
    if not 0.0 < kv_usage <= 1.0:
        raise ValueError(f"kvCacheUtilThreshold is {kv_usage}; write a number above 0, at most 1")


# === by what the replicas say ===


class UtilizationParameters(Parameters, frozen=True):
    queue_depth_threshold: int = 5
    """Waiting requests at which an endpoint is full."""
    kv_cache_util_threshold: float = 0.8
    """Used share of the KV cache at which it is."""
    metrics_staleness_threshold: Duration = Duration(0.2)
    """Without effect: what is too old is said once for the whole picker, and never makes a replica full."""
    headroom: float = 0.0
    """Share by which the filter lets an endpoint exceed both thresholds."""

    def __post_init__(self) -> None:
        check_thresholds(self.queue_depth_threshold, self.kv_cache_util_threshold)
        check_headroom(self.headroom)
        if not self.metrics_staleness_threshold > 0.0:
            raise ValueError("metricsStalenessThreshold is not above 0; write a duration such as 200ms")


class Utilization(Plugin):
    """`utilization-detector`: mean of max(queue / threshold, KV usage / threshold).

    An endpoint without a reading that counts is taken for what the candidates' gauges assume of it, but
    never for full unless those that are seen are: that a page is late is no reason to refuse anybody.
    """

    type = "utilization-detector"
    schema = UtilizationParameters
    parameters: UtilizationParameters

    def __init__(self, name: str, parameters: UtilizationParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        if parameters.headroom > 1.0:
            log.warning("%s: headroom %g lets endpoints go far beyond full", name, parameters.headroom)

    def saturation(self, candidates: Candidates) -> float:
        if not len(candidates):
            return EMPTY_POOL
        queue, usage = self._shares(candidates)
        return float(np.maximum(queue, usage).mean())

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        """Those below both thresholds; everybody where nobody is."""
        queue, usage = self._shares(candidates)
        most = 1.0 + self.parameters.headroom
        kept: Mask = (queue < most) & (usage < most)
        return kept if kept.any() else np.ones(len(candidates), np.bool_)

    def _shares(self, candidates: Candidates) -> tuple[Vector, Vector]:
        """Queue and KV usage of each as shares of their thresholds, shape (n,)."""
        wanted, table = self.parameters, candidates.table
        queue = candidates.waiting() / wanted.queue_depth_threshold
        usage = candidates.kv_usage() / wanted.kv_cache_util_threshold
        fresh = table.fresh(candidates.now)[candidates.rows]
        return (
            _unfilled(queue, fresh & ~np.isnan(table.waiting[candidates.rows])),
            _unfilled(usage, fresh & ~np.isnan(table.kv_usage[candidates.rows])),
        )


def _unfilled(shares: Vector, seen: Mask) -> Vector:
    """The shares, where those that are not seen are no fuller than almost, or than the seen on average."""
    if seen.all():
        return shares
    known = shares[seen]
    most = max(ALMOST, float(known.mean())) if len(known) else ALMOST
    capped: Vector = np.where(seen, shares, np.minimum(shares, most))
    return capped


# === by what the picker has sent ===


class ConcurrencyParameters(Parameters, frozen=True):
    max_concurrency: int = 100
    """Requests in flight at which an endpoint is full."""
    max_token_concurrency: int = 1_000_000
    """Tokens in flight at which it is."""
    concurrency_mode: Literal["requests", "tokens", "hybrid"] = "requests"
    """What counts; hybrid: both."""
    headroom: float = 0.0
    """Share by which the filter lets an endpoint exceed its limit."""
    in_flight_load_producer_name: str = "inflight-load-producer"
    """Who says what a request is charged with."""

    def __post_init__(self) -> None:
        limits = {
            "maxConcurrency": self.max_concurrency,
            "maxTokenConcurrency": self.max_token_concurrency,
        }
        for key, limit in limits.items():
            if limit < 1:
                raise ValueError(f"{key} is {limit}; write how much one endpoint takes, 1 or more")
        check_headroom(self.headroom)


class Concurrency(Plugin):
    """`concurrency-detector`: Σ in flight / Σ capacity; hybrid: mean of the fuller of requests and tokens.

    It reads the ledger's columns, which a filter and a detector see alike, and which are true at once.
    """

    type = "concurrency-detector"
    schema = ConcurrencyParameters
    parameters: ConcurrencyParameters

    with_output = False
    """Whether the named producer charges output too: then tokens weigh until the end of a response, else
    until its first token. Set when the plugins are connected."""

    def requires(self) -> Sequence[Key[Any]]:
        return (attributes.in_flight_load(self.parameters.in_flight_load_producer_name),)

    def saturation(self, candidates: Candidates) -> float:
        if not len(candidates):
            return EMPTY_POOL
        # All endpoints take the same, so Σ load / Σ limit is the mean of the shares too.
        shares = [load / limit for load, limit in self._loads(candidates)]
        return float(np.maximum.reduce(shares).mean())

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        """Those below their limit, which may be nobody."""
        kept = np.ones(len(candidates), np.bool_)
        for load, limit in self._loads(candidates):
            kept &= load < int(limit * (1.0 + self.parameters.headroom))
        return kept

    def _loads(self, candidates: Candidates) -> list[tuple[Vector, int]]:
        """What counts in this mode: load of each candidate, shape (n,), and the limit of one."""
        wanted, table, rows = self.parameters, candidates.table, candidates.rows
        tokens = table.in_flight_tokens if self.with_output else table.prefill_tokens
        loads = {
            "requests": (table.in_flight[rows], wanted.max_concurrency),
            "tokens": (tokens[rows], wanted.max_token_concurrency),
        }
        mode = wanted.concurrency_mode
        return list(loads.values()) if mode == "hybrid" else [loads[mode]]
