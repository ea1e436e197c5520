"""The text of a configuration → a Config, and a plugin's parameter block → its struct.

Strict by default: what is misspelt would otherwise be silently without effect, and nobody would know why
traffic goes where it goes.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from endpoint_picker.config import document, hints, schema, strict
from endpoint_picker.config.lines import Lines
from endpoint_picker.config.schema import Config, Document, PluginBlock, ProfileBlock
from endpoint_picker.config.strict import Place
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Parameters, ParametersType

log = logging.getLogger(__name__)

_TRUTH: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def load(text: str | bytes, source: str = "--config-text", *, lenient: bool = False) -> Config:
    """Read a configuration; an empty text means what the reference takes it for, not our default.

    Lenient: unknown keys are logged and dropped. Raises ConfigError.
    """
    value, lines = document.read_with_lines(_decoded(text, source), source)
    if value is None:
        return dataclasses.replace(schema.weighted(source), lenient=lenient)
    if not isinstance(value, dict):
        raise ConfigError(
            f"{source}: a configuration is a mapping with apiVersion and kind, not a {_kind(value)}"
        )
    empty = Config(source, lenient=lenient, lines=lines)
    _check_envelope(value, empty)
    return _meant(strict.decode(value, Document, where=Place(source, lines=lines), lenient=lenient), empty)


def load_file(path: Path, *, lenient: bool = False) -> Config:
    """Read a configuration file. Raises ConfigError, also when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(document.LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return load(data, str(path), lenient=lenient)


def parameters(
    block: PluginBlock,
    wanted: ParametersType | None,
    *,
    source: str,
    lines: Lines | None = None,
    lenient: bool = False,
) -> Parameters | None:
    """A plugin's parameters as an instance of its schema; `lines` are those of the block.

    None when it takes none: then nobody looks at the block. Raises ConfigError that names the plugin.
    """
    if wanted is None:
        return None
    value = {} if block.parameters is None else block.parameters
    subject = f'plugin "{block.name}" (type {block.type})'
    place = Place(source, subject, "parameters", (lines or Lines()).at("parameters"))
    if not isinstance(value, dict):
        raise ConfigError(place.told(f"parameters must be a mapping, not a {_kind(value)}"))
    return strict.decode(value, wanted, where=place, lenient=lenient)


def _decoded(text: str | bytes, source: str) -> str:
    try:
        return text if isinstance(text, str) else text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 text: byte {error.start} cannot be read") from error


def _check_envelope(value: Mapping[str, Any], config: Config) -> None:
    version, kind = value.get("apiVersion"), value.get("kind")
    if kind != schema.KIND:
        raise ConfigError(f"{config.at('kind')}: kind is {_shown(kind)}; write kind: {schema.KIND}")
    if version not in schema.API_VERSIONS:
        known = ", ".join(schema.API_VERSIONS)
        raise ConfigError(f"{config.at('apiVersion')}: apiVersion is {_shown(version)}; write one of {known}")
    if version == schema.DEPRECATED_API_VERSION:
        where = config.at("apiVersion")
        log.warning("%s: apiVersion %s is deprecated; write %s", where, version, schema.API_VERSION)


def _meant(written: Document, empty: Config) -> Config:
    _warn_of_old_places(written, empty)
    handler = written.request_handler or schema.RequestHandler()
    return dataclasses.replace(
        empty,
        plugins=_plugins(written.plugins, empty),
        profiles=_profiles(written.scheduling_profiles, empty),
        data_layer=written.data_layer or schema.DataLayer(),
        flow_control=_flow_control(written),
        parsers=handler.parsers or ((written.parser,) if written.parser else ()),
        gates=_gates(written.feature_gates, empty),
    )


def _warn_of_old_places(written: Document, config: Config) -> None:
    if written.saturation_detector:
        where = config.at("saturationDetector")
        log.warning("%s: saturationDetector belongs into flowControl now", where)
    if written.parser:
        log.warning("%s: parser belongs into requestHandler.parsers now", config.at("parser"))


def _flow_control(written: Document) -> schema.FlowControl:
    nested = written.flow_control or schema.FlowControl()
    if nested.saturation_detector is None and written.saturation_detector is not None:
        return msgspec.structs.replace(nested, saturation_detector=written.saturation_detector)
    return nested


def _plugins(blocks: Iterable[PluginBlock], config: Config) -> tuple[PluginBlock, ...]:
    """The blocks with their names filled in; a missing type or a name used twice is an error."""
    named: dict[str, PluginBlock] = {}
    for position, block in enumerate(blocks):
        name = block.name or block.type
        path = f"plugins[{position}]"
        if not block.type:
            raise ConfigError(f"{config.at(path)}: {path}: plugin '{name}' is missing a type")
        if name in named:
            raise ConfigError(
                f"{config.at(path)}: {path}: duplicate plugin name '{name}'; give one another name"
            )
        named[name] = msgspec.structs.replace(block, name=name)
    return tuple(named.values())


def _profiles(profiles: tuple[ProfileBlock, ...], config: Config) -> tuple[ProfileBlock, ...]:
    seen: set[str] = set()
    for position, profile in enumerate(profiles):
        path = f"schedulingProfiles[{position}]"
        if not profile.name:
            raise ConfigError(f"{config.at(path)}: {path}: the profile has no name; give it one")
        if profile.name in seen:
            raise ConfigError(
                f"{config.at(path)}: {path}: duplicate profile name '{profile.name}'; rename one"
            )
        seen.add(profile.name)
    return profiles


def _gates(entries: Iterable[str], config: Config) -> Mapping[str, bool]:
    """Feature gates written as `name` or `name=true|false`."""
    gates = dict(schema.GATES)
    for position, entry in enumerate(entries):
        where = f"{config.at(f'featureGates[{position}]')}: featureGates"
        name, equals, value = (part.strip() for part in entry.partition("="))
        if name not in gates:
            message = f"{where}: feature gate '{name}' is unknown or unregistered"
            raise ConfigError(hints.with_hint(message, name, schema.GATES))
        if equals and value.lower() not in _TRUTH:
            raise ConfigError(f"{where}: {name}={value}: write true or false")
        gates[name] = _TRUTH[value.lower()] if equals else True
    return gates


def _kind(value: Any) -> str:
    names = {"list": "list", "str": "text", "dict": "mapping"}
    return names.get(type(value).__name__, "single value")


def _shown(value: Any) -> str:
    return "missing" if value is None else f'"{str(value)[:64]}"'
