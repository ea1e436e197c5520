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
        self._paths: dict[str, str] = {}

    def create_declared(self) -> None:
        """Make an instance of each block of the configuration; what is wrong with any is told together."""
        wrong: list[str] = []
        for position, block in enumerate(self.config.plugins):
            self._paths[block.name] = f"plugins[{position}]"
            try:
                self.create(block)
            except ConfigError as error:
                wrong.append(str(error))
        if wrong:
            raise ConfigError("\n".join(wrong))

    def create(self, block: PluginBlock, reason: str = "") -> Plugin:
        """Make the instance that a block describes; `reason` says why, where no block stands in the file."""
        path = self.path(block.name)
        subject = f'plugin "{block.name}"{reason}'
        found = self._catalog.find(
            block.type,
            f"{self.config.at(path)}: {subject}",
            allow_experimental=self._allow_experimental,
        )
        lines = self.config.lines.at(path) if path else None
        parameters = load.parameters(
            block, found.schema, source=self.config.source, lines=lines, lenient=self._lenient
        )
        # Facts are looked for under the name of today, even where an old name of the type stands.
        name = found.type if block.name == block.type else block.name
        if any(name == other.name for other in self.instances.values()):
            raise self.wrong(f"{subject}: duplicate plugin name '{name}'; give one another name", at=path)
        try:
            plugin = found(name, parameters, self.wiring)
        except ValueError as error:
            raise self.wrong(f"{subject} (type {block.type}): {error}", at=path) from error
        self.instances[block.name] = plugin
        return plugin

    def ensure(self, plugin_type: str, needed_by: str = "") -> Plugin:
        """The instance named like its type; made when there is none."""
        named = (plugin for plugin in self.instances.values() if plugin.name == plugin_type)
        existing = self.instances.get(plugin_type) or next(named, None)
        if existing is None:
            reason = f", which {needed_by} needs" if needed_by else ""
            return self.create(PluginBlock(type=plugin_type, name=plugin_type), reason)
        if existing.type != plugin_type:
            raise self.wrong(
                f'plugin "{plugin_type}" has the type {existing.type}, but the name is needed for a '
                f"{plugin_type}; give it another name",
                at=self.path(plugin_type),
            )
        return existing

    def path(self, name: str) -> str:
        """Where in the file the plugin of that name is declared; empty where it is not."""
        return self._paths.get(name, "")

    def of(self, kind: type[P]) -> list[P]:
        """The instances of one kind, in order."""
        return [plugin for plugin in self.instances.values() if isinstance(plugin, kind)]

    def referred(self, name: str, where: str) -> Plugin:
        """The instance that a reference names."""
        if not name:
            raise self.wrong(f"{where}: pluginRef is empty; name one of the plugins", at=where)
        if name in self.instances:
            return self.instances[name]
        if self.knows(name):
            raise self.wrong(
                f"{where}: the plugin '{name}' is not declared; add - type: {name} to plugins", at=where
            )
        message = f"{where}: the plugin '{name}' is not declared in plugins"
        raise self.wrong(hints.with_hint(message, name, self.instances), at=where)

    def expected(self, name: str, kind: type[P], what: str, *, where: str) -> P:
        """The instance that a reference names, which must be of this kind."""
        plugin = self.referred(name, where)
        if not isinstance(plugin, kind):
            raise self.wrong(f"{where}: the plugin '{name}' (type {plugin.type}) is not {what}", at=where)
        return plugin

    def knows(self, plugin_type: str) -> bool:
        return plugin_type in self._catalog.classes

    def wrong(self, what: str, *, at: str = "") -> ConfigError:
        """What to raise; `at` is the path of what is wrong, where one part of the file is."""
        return ConfigError(f"{self.config.at(at)}: {what}")
