"""Filters that go by the labels of endpoints.

They look at labels once for each version of the table, and answer every request from a mask over all rows.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import msgspec

from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.labels import Labels, mask_of
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class ByLabels(Plugin, ABC):
    """Keeps the endpoints whose labels match."""

    def __init__(self, name: str, parameters: Any, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._mask = mask_of(self.matches)

    @abstractmethod
    def matches(self, labels: Labels) -> bool:
        """Whether an endpoint with these labels stays."""

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        """Shape (n,): the part of the mask that concerns these candidates."""
        kept: Mask = self._mask.of(candidates.table)[candidates.rows]
        return kept


class Expression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One requirement of a label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wants_values = self.operator in ("In", "NotIn")
        if wants_values and not self.values:
            raise ValueError(f"values: operator {self.operator} needs at least one value")
        if self.values and not wants_values:
            raise ValueError(f"values: operator {self.operator} takes none; remove them")

    def holds(self, labels: Labels) -> bool:
        """As Kubernetes reads it: NotIn holds where the label is absent."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        return (value is not None) == (self.operator == "Exists")


class Selector(Parameters, frozen=True):
    """A Kubernetes label selector; all of it must hold, and an empty one holds for everybody."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()


class LabelSelector(ByLabels):
    """`label-selector-filter`: keeps the endpoints that a Kubernetes label selector selects."""

    type = "label-selector-filter"
    schema = Selector
    parameters: Selector

    def matches(self, labels: Labels) -> bool:
        wanted = self.parameters
        return all(labels.get(key) == value for key, value in wanted.match_labels.items()) and all(
            expression.holds(labels) for expression in wanted.match_expressions
        )


class LabelValues(Parameters, frozen=True):
    """A label and the values that count."""

    label: str
    valid_values: tuple[str, ...] = ()
    allows_no_label: bool = False

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label is empty; name the label to look at")
        if not self.valid_values and not self.allows_no_label:
            raise ValueError(
                "validValues is empty, so nobody would be kept; list a value or set allowsNoLabel"
            )


class ByLabel(ByLabels):
    """`by-label`: keeps the endpoints with one of the listed values (deprecated)."""

    type = "by-label"
    schema = LabelValues
    parameters: LabelValues

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.parameters.label)
        return self.parameters.allows_no_label if value is None else value in self.parameters.valid_values
