"""The plugin instances of one configuration, and how they are made and found by name."""

from typing import TypeVar

from endpoint_picker.catalog import Catalog
from endpoint_picker.config import hints, load
from endpoint_picker.config.schema import Config, PluginBlock
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Plugin, Wiring

P = TypeVar("P")


class Made:
    """The instances so far, and how more are made."""

    def __init__(
        self, config: Config, wiring: Wiring, catalog: Catalog, allow_experimental: bool, lenient: bool
    ) -> None:
        self.config = config
        self.wiring = wiring
        self.instances: dict[str, Plugin] = {}
        self._catalog = catalog
        self._allow_experimental = allow_experimental
        self._lenient = lenient

    def create(self, block: PluginBlock) -> Plugin:
        """Make the instance that a block describes."""
        source = self.config.source
        found = self._catalog.find(
            block.type, f'{source}: plugin "{block.name}"', allow_experimental=self._allow_experimental
        )
        parameters = load.parameters(block, found.schema, source=source, lenient=self._lenient)
        # Facts are looked for under the name of today, even where an old name of the type stands.
        name = found.type if block.name == block.type else block.name
        try:
            plugin = found(name, parameters, self.wiring)
        except ValueError as error:
            raise ConfigError(f'{source}: plugin "{block.name}" (type {block.type}): {error}') from error
        self.instances[block.name] = plugin
        return plugin

    def ensure(self, plugin_type: str) -> Plugin:
        """The instance named like its type; made when there is none."""
        existing = self.instances.get(plugin_type)
        if existing is None:
            return self.create(PluginBlock(type=plugin_type, name=plugin_type))
        if existing.type != plugin_type:
            raise self.wrong(
                f'plugin "{plugin_type}" has the type {existing.type}, but the name is needed for a '
                f"{plugin_type}; give it another name"
            )
        return existing

    def of(self, kind: type[P]) -> list[P]:
        """The instances of one kind, in order."""
        return [plugin for plugin in self.instances.values() if isinstance(plugin, kind)]

    def referred(self, name: str, where: str) -> Plugin:
        """The instance that a reference names."""
        if not name:
            raise self.wrong(f"{where}: pluginRef is empty; name one of the plugins")
        if name in self.instances:
            return self.instances[name]
        if self.knows(name):
            raise self.wrong(f"{where}: the plugin '{name}' is not declared; add - type: {name} to plugins")
        message = f"{where}: the plugin '{name}' is not declared in plugins"
        raise self.wrong(hints.with_hint(message, name, self.instances))

    def expected(self, name: str, kind: type[P], what: str, *, where: str) -> P:
        """The instance that a reference names, which must be of this kind."""
        plugin = self.referred(name, where)
        if not isinstance(plugin, kind):
            raise self.wrong(f"{where}: the plugin '{name}' (type {plugin.type}) is not {what}")
        return plugin

    def knows(self, plugin_type: str) -> bool:
        return plugin_type in self._catalog.classes

    def wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self.config.source}: {what}")
