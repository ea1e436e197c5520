"""Extractors over a table with one endpoint, and what they wrote there."""

from typing import Any

from endpoint_picker.config import strict
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring


def extractor(kind: Any, *, name: str = "", endpoint: str = "pod-a-rank-0", **parameters: Any) -> Any:
    """An instance, named like its type unless told, whose table has the endpoint in row 0."""
    table = EndpointTable()
    table.replace([Endpoint(endpoint, "10.0.0.1", 8000)])
    decoded = None if kind.schema is None else strict.decode(parameters, kind.schema, where="c.yaml")
    return kind(name or kind.type, decoded, Wiring(table, Metrics()))


def scalar(plugin: Any, attribute: str) -> float | None:
    """What the extractor of that name has said of row 0; None: nothing at all."""
    values = plugin.wiring.table.scalar(attribute, plugin.name)
    return None if values is None else float(values[0])
