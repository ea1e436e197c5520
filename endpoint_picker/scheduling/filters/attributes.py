"""The filter by any number that the data layer knows of an endpoint."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.scheduling.scalars import producer_of

Operator = Literal["LessThan", "LessThanOrEqual", "GreaterThan", "GreaterThanOrEqual", "Equal", "NotEqual"]

_COMPARISONS: Final[Mapping[str, Callable[..., Any]]] = {
    "LessThan": np.less,
    "LessThanOrEqual": np.less_equal,
    "GreaterThan": np.greater,
    "GreaterThanOrEqual": np.greater_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
}


class Threshold(Parameters, frozen=True):
    """What the attribute is compared with."""

    operator: Operator
    value: float = 0.0


class Algorithm(Parameters, frozen=True):
    """How it is decided; there is one way so far."""

    type: Literal["threshold"]
    threshold: Threshold


class AttributeParameters(Parameters, frozen=True):
    """Which attribute, and what it must be."""

    attribute: str
    algorithm: Algorithm
    producer: str | None = None
    on_missing: Literal["Pass", "Fail"] = "Pass"
    fallback_on_empty: bool = False
    """Keep everybody where nobody would stay."""

    def __post_init__(self) -> None:
        producer_of("attribute", self.attribute, self.producer)


class EndpointAttribute(Plugin):
    """`endpoint-attribute-filter`: keeps the endpoints whose attribute compares as asked.

    One whose attribute is not known stays, unless `onMissing` is `Fail`.
    """

    type = "endpoint-attribute-filter"
    stability = "alpha"
    schema = AttributeParameters

    def __init__(self, name: str, parameters: AttributeParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._producer = producer_of("attribute", parameters.attribute, parameters.producer)
        self._threshold = parameters.algorithm.threshold.value
        self._holds = _COMPARISONS[parameters.algorithm.threshold.operator]

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        values = candidates.scalar(self.parameters.attribute, self._producer)
        kept: Mask = self._holds(values, self._threshold)
        kept[np.isnan(values)] = self.parameters.on_missing == "Pass"
        if self.parameters.fallback_on_empty and not kept.any():
            kept[:] = True
        return kept
