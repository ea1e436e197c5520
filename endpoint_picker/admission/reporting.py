"""What the data plane is told about a request when its response begins, and when it has ended."""

import math
from collections.abc import Mapping
from typing import Final

from endpoint_picker.admission import expressions
from endpoint_picker.core import wire
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.request import Request, Usage
from endpoint_picker.plugin import Parameters, Plugin, Wiring

SERVED_HEADER: Final = "x-conformance-test-served-endpoint"
NOT_SERVED: Final = "fail: missing destination endpoint served metadata"


class MetadataKey(Parameters, frozen=True):
    name: str
    namespace: str = wire.DESTINATION_NAMESPACE
    """Of the dynamic metadata."""

    def __post_init__(self) -> None:
        if not self.name or not self.namespace:
            raise ValueError("name and namespace must not be empty; the namespace may be left out")


class Attribute(Parameters, frozen=True):
    key: MetadataKey
    expression: str
    """Computes a number from the usage."""
    condition: str = ""
    """Says whether it is told; none: always."""


class ReporterParameters(Parameters, frozen=True):
    attributes: tuple[Attribute, ...]
    """Exactly one."""

    def __post_init__(self) -> None:
        if len(self.attributes) != 1:
            raise ValueError(f"attributes has {len(self.attributes)} entries; write exactly one")


class AttributeReporter(Plugin):
    """`request-attribute-reporter`: a number that is computed from the usage, as dynamic metadata.

    A whole one: fractions are cut off. Nothing is told where it is 0, cannot be had, or the condition
    does not hold.
    """

    type = "request-attribute-reporter"
    schema = ReporterParameters

    def __init__(self, name: str, parameters: ReporterParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        (attribute,) = parameters.attributes
        self._key = attribute.key
        self._value = _compiled("expression", attribute.expression, "number")
        self._applies = _compiled("condition", attribute.condition or "true", "truth")

    def report(self, request: Request, usage: Usage) -> Mapping[str, Mapping[str, float]]:
        try:
            value = float(self._value(usage)) if self._applies(usage) else 0.0
        except ArithmeticError:
            return {}
        whole = math.trunc(value) if math.isfinite(value) else 0
        return {self._key.namespace: {self._key.name: float(whole)}} if whole else {}


def _compiled(key: str, text: str, kind: expressions.Kind) -> expressions.Run:
    where = f"attributes[0].{key}"
    try:
        found = expressions.compiled(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if found.kind != kind:
        example = "usage.prompt_tokens" if kind == "number" else "has(usage.prompt_tokens)"
        raise ValueError(f"{where}: is not {'a number' if kind == 'number' else 'a test'}; write {example}")
    return found.run


class ServedVerifier(Plugin):
    """`destination-endpoint-served-verifier`: tells the client who served it, for conformance tests."""

    type = "destination-endpoint-served-verifier"

    def respond(self, request: Request, decision: Decision) -> Mapping[str, str]:
        return {SERVED_HEADER: request.served or NOT_SERVED}
