"""What a configuration amounts to: everything that runs, with every default, as a configuration again.

The text is stable, so that two of them can be compared, and loading it makes the same run.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from endpoint_picker.assemble import Assembly
from endpoint_picker.commands import yamltext
from endpoint_picker.commands.roles import METHODS, UNASKED
from endpoint_picker.config import schema, units
from endpoint_picker.config.schema import Config
from endpoint_picker.plugin import Plugin
from endpoint_picker.scheduling.profile import WeightedProfile

Document = dict[str, Any]


def document(config: Config, assembly: Assembly) -> Document:
    """The configuration that says all that runs."""
    return {
        "apiVersion": schema.API_VERSION,
        "kind": schema.KIND,
        "featureGates": [f"{name}={str(on).lower()}" for name, on in sorted(config.gates.items())],
        "plugins": [_block(plugin) for plugin in assembly.instances.values()],
        "schedulingProfiles": [_profile(each) for each in assembly.scheduler.profiles.values()],
        "requestHandler": {"parsers": _references(assembly.parsers)},
        "dataLayer": _data_layer(config, assembly),
        "flowControl": {"saturationDetector": _reference(assembly.detector)},
    }


def text(config: Config, assembly: Assembly) -> str:
    """The same as YAML; comments tell what the file does not say."""
    declared = {block.name for block in config.plugins}
    found: list[str] = []
    for key, value in document(config, assembly).items():
        if key == "plugins":
            found.append("plugins:")
            for name, block in zip(assembly.instances, value, strict=True):
                found.extend(yamltext.item(block, comment="" if name in declared else "added"))
        else:
            found.extend(yamltext.lines({key: value}))
    return "\n".join([*found, *_order(assembly)]) + "\n"


def _order(assembly: Assembly) -> Iterator[str]:
    yield "# What runs for every request beside parser and profiles, in this order:"
    for method in UNASKED:
        plugins = assembly.producers if method == "produce" else assembly.instances.values()
        named = [plugin.name for plugin in plugins if isinstance(plugin, Plugin) and hasattr(plugin, method)]
        if named:
            yield f"#   {METHODS[method]}: {', '.join(named)}"


def _block(plugin: Plugin) -> Document:
    block: Document = {"name": plugin.name, "type": plugin.type}
    if plugin.schema is not None:
        block["parameters"] = plain(plugin.parameters)
    return block


def plain(value: Any) -> Any:
    """A value of a parameter as a configuration holds it."""
    return msgspec.to_builtins(value, enc_hook=units.encode)


def _profile(profile: Any) -> Document:
    """Filters in their order, scorers with weights, the picker; a plugin in two roles stands once."""
    if not isinstance(profile, WeightedProfile):
        return {"name": profile.name}
    weighed = [(scoring.name, scoring.weight) for scoring in profile.scorers]
    placed: list[Document] = []
    for keeping in profile.filters:
        twin = next((each for each in weighed if each[0] == keeping.name), None)
        if twin is None:
            placed.append({"pluginRef": keeping.name})
        else:
            weighed.remove(twin)
            placed.append({"pluginRef": keeping.name, "weight": twin[1]})
    placed += [{"pluginRef": name, "weight": weight} for name, weight in weighed]
    return {"name": profile.name, "plugins": [*placed, {"pluginRef": profile.picker.name}]}


def _data_layer(config: Config, assembly: Assembly) -> Document:
    layer: Document = {"injectDefaults": config.data_layer.inject_defaults}
    layer["sources"] = [
        {**_reference(feed.source), "extractors": _references(feed.extractors)} for feed in assembly.feeds
    ]
    if assembly.discovery is not None:
        layer["discovery"] = _reference(assembly.discovery)
    return layer


def _reference(plugin: Any) -> Document:
    return {"pluginRef": plugin.name}


def _references(plugins: Iterable[Any]) -> list[Document]:
    return [_reference(plugin) for plugin in plugins]
