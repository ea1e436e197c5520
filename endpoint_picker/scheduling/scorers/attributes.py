"""The scorer by any number that the data layer knows of an endpoint."""

from typing import Literal

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.scheduling.scalars import producer_of


class FixedRange(Parameters, frozen=True):
    """Values beyond it count as its ends."""

    min: float = 0.0
    max: float = 0.0

    def __post_init__(self) -> None:
        if not self.min < self.max:
            raise ValueError(f"fixedRange is from {self.min} to {self.max}; min must be less than max")


class AdaptiveRange(Parameters, frozen=True):
    """From the least to the greatest value among the candidates."""


class Normalization(Parameters, frozen=True):
    """What counts as the least and as the most; without either, the adaptive range."""

    fixed_range: FixedRange | None = None
    adaptive_range: AdaptiveRange | None = None

    def __post_init__(self) -> None:
        if self.fixed_range is not None and self.adaptive_range is not None:
            raise ValueError("normalization has both fixedRange and adaptiveRange; keep one")


class Algorithm(Parameters, frozen=True):
    """Which end is the better one."""

    type: Literal["linear_lower_is_better", "linear_higher_is_better"]
    normalization: Normalization = Normalization()


class AttributeParameters(Parameters, frozen=True):
    """Which attribute, and how it becomes a score."""

    attribute_key: str
    algorithm: Algorithm
    producer: str | None = None

    def __post_init__(self) -> None:
        producer_of("attributeKey", self.attribute_key, self.producer)


class EndpointAttribute(Plugin):
    """`endpoint-attribute-scorer`: an attribute of the endpoint, mapped linearly to 0..1.

    (value - min) / (max - min), or 1 less that where lower is better; all equal → 1; not known → 0.
    """

    type = "endpoint-attribute-scorer"
    stability = "alpha"
    schema = AttributeParameters

    def __init__(self, name: str, parameters: AttributeParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._producer = producer_of("attributeKey", parameters.attribute_key, parameters.producer)
        self._fixed = parameters.algorithm.normalization.fixed_range
        self._lower = parameters.algorithm.type == "linear_lower_is_better"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        values = candidates.scalar(self.parameters.attribute_key, self._producer)
        scores, known = np.zeros(len(values)), np.isfinite(values)
        if known.any():
            scores[known] = self._mapped(values[known])
        return scores

    def _mapped(self, values: Vector) -> Vector:
        fixed = self._fixed
        least, most = (fixed.min, fixed.max) if fixed else (values.min(), values.max())
        if least == most:
            return np.ones(len(values))
        share: Vector = np.clip((values - least) / (most - least), 0.0, 1.0)
        return 1.0 - share if self._lower else share
