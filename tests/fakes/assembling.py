"""Configurations in few words, and what comes of them."""

import json
from collections.abc import Iterable
from typing import Any

from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.config import load, schema
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.plugin import Plugin
from endpoint_picker.scheduling.profile import WeightedProfile
from tests.fakes.pool import wiring_of

Document = dict[str, Any]
ENVELOPE = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}


def text_of(document: Document) -> str:
    """The document with its envelope, as JSON."""
    return json.dumps({**ENVELOPE, **document})


def plugin(plugin_type: str, name: str = "", **parameters: Any) -> Document:
    """One block of `plugins`."""
    return {"type": plugin_type, "name": name or plugin_type, "parameters": parameters}


def placed(*names: str, **weights: float) -> list[Document]:
    """The `plugins` of a profile: by name, or with a weight."""
    return [{"pluginRef": name} for name in names] + [
        {"pluginRef": name, "weight": weight} for name, weight in weights.items()
    ]


def profiles(**by_name: list[Document]) -> list[Document]:
    """The `schedulingProfiles`."""
    return [{"name": name, "plugins": plugins} for name, plugins in by_name.items()]


def source(name: str, *extractors: str) -> Document:
    """One of `dataLayer.sources`."""
    return {"pluginRef": name, "extractors": placed(*extractors)}


def assembled(
    document: Document | None = None, table: EndpointTable | None = None, **options: Any
) -> Assembly:
    """What runs with this document; None: with none at all."""
    config = schema.default() if document is None else load.load(text_of(document), "epp.yaml")
    return assemble(config, wiring_of(table or EndpointTable()), **options)


def profile(assembly: Assembly, name: str = "default") -> WeightedProfile:
    found = assembly.scheduler.profiles[name]
    assert isinstance(found, WeightedProfile)
    return found


def weights(assembly: Assembly, name: str = "default") -> dict[str, float]:
    """Scorer → weight in a profile."""
    return {scoring.name: scoring.weight for scoring in profile(assembly, name).scorers}


def names(plugins: Iterable[object]) -> list[str]:
    return [each.name for each in plugins if isinstance(each, Plugin)]
