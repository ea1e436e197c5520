"""Plugins as the loader makes them: their parameters go through the strict decoder."""

from typing import Any, TypeVar

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.plugin import Plugin
from tests.fakes.pool import wiring_of

P = TypeVar("P", bound=Plugin)


def configured(
    kind: type[P], table: EndpointTable, parameters: Any = None, *, name: str = "p", seed: int = 0
) -> P:
    """A plugin from its block in a configuration. Raises ConfigError where the block is wrong."""
    block = PluginBlock(type=kind.type, name=name, parameters=parameters)
    return kind(name, load.parameters(block, kind.schema, source="epp.yaml"), wiring_of(table, seed=seed))
