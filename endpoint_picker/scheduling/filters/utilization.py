"""The filter that leaves out endpoints with too much to do."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import InFlightLoad, Key
from endpoint_picker.core.endpoints import Candidates, Mask, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

ACTIVE: Final = "active-requests"
KV_CACHE: Final = "kv-cache-utilization"

_GAUGES: Final[Mapping[str, Callable[[Candidates], Vector]]] = {
    "running-requests": Candidates.running,
    "waiting-queue": Candidates.waiting,
    KV_CACHE: Candidates.kv_usage,
}


class Condition(Parameters, frozen=True):
    """One limit."""

    metric: Literal["active-requests", "running-requests", "waiting-queue", "kv-cache-utilization"]
    max_value: float

    def __post_init__(self) -> None:
        if not self.max_value >= 0.0:
            raise ValueError(f"maxValue of {self.metric} is {self.max_value}; it must be at least 0")
        if self.metric == KV_CACHE and self.max_value > 1.0:
            raise ValueError(f"maxValue of {KV_CACHE} is {self.max_value}; write a share from 0 to 1")


class UtilizationParameters(Parameters, frozen=True):
    """The limits; all of them must hold."""

    conditions: tuple[Condition, ...] = ()
    fallback_on_empty: bool = False
    """Keep everybody where nobody would stay."""
    in_flight_load_producer_name: str = "inflight-load-producer"

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("conditions is empty; list at least one metric with its maxValue")


class Utilization(Plugin):
    """`utilization-filter`: keeps the endpoints that are at or below each `maxValue`.

    On purpose not as the field's reference does it, which takes missing data for 0 and believes old data:
    a gauge that is missing or stale is assumed as `Candidates` does, and where the producer of the load
    in flight has failed, the ledger itself is asked. So an endpoint that nobody can see is not idle.
    """

    type = "utilization-filter"
    stability = "alpha"
    schema = UtilizationParameters

    def __init__(self, name: str, parameters: UtilizationParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._load: Key[InFlightLoad] = attributes.in_flight_load(parameters.in_flight_load_producer_name)
        self._counts_active = any(each.metric == ACTIVE for each in parameters.conditions)

    def requires(self) -> Sequence[Key[Any]]:
        return (self._load,) if self._counts_active else ()

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        kept = np.ones(len(candidates), np.bool_)
        for condition in self.parameters.conditions:
            kept &= self._values(condition.metric, request, candidates) <= condition.max_value
        if self.parameters.fallback_on_empty and not kept.any():
            kept[:] = True
        return kept

    def _values(self, metric: str, request: Request, candidates: Candidates) -> Any:
        if metric != ACTIVE:
            return _GAUGES[metric](candidates)
        load = request.attributes.read(self._load)
        return (candidates.table.in_flight if load is None else load.requests)[candidates.rows]
