"""Where options are set: flags before the configuration file, the file before the environment.

All three are read into one mapping of plain values by flag name, then checked together.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from endpoint_picker.config import document, strict
from endpoint_picker.config.hints import with_hint
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.sidecar.flags import FILE, FLAGS, GROUPS, IDLE, INLINE, RENAMED, STAGED, parser
from endpoint_picker.sidecar.options import Options

METRICS_ADDRESS: Final = "MORIIO_METRICS_ADDR"
"""Environment variable with the port of metrics, as `:9090`."""

Values = dict[str, Any]
"""Plain values by flag name."""


class Settings(NamedTuple):
    """What was asked for, and what to say about it once there is a log."""

    options: Options
    warnings: list[str]


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Everything that is set, checked together. Raises ConfigError."""
    warnings: list[str] = []
    flags = _flags(arguments)
    inline, file = flags.pop(INLINE, ""), flags.pop(FILE, "")
    values = _environment(environment)
    for source in (_file(inline, file), flags):
        values |= {name: _plain(name, value) for name, value in _current(source, warnings).items()}
    options = strict.decode(values, Options, where="options")
    warnings += [
        f"--{flag.name} has no effect: {flag.help}"
        for flag in GROUPS[IDLE]
        if flag.name in values and values[flag.name] != flag.default
    ]
    return Settings(options, warnings)


def _flags(arguments: Sequence[str]) -> Values:
    whole = parser()
    known, unknown = whole.parse_known_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        valid = [f"--{each}" for each in (*FLAGS, FILE, INLINE)]
        raise ConfigError(with_hint(f"unknown argument {unknown[0]}", name, valid))
    return {name.replace("_", "-"): value for name, value in vars(known).items()}


def _file(inline: str, file: str) -> Values:
    if inline and file:
        raise ConfigError(f"--{INLINE} and --{FILE} exclude each other: give one of them")
    try:
        text = Path(file).read_text(encoding="utf-8") if file else inline
    except (OSError, ValueError) as error:
        raise ConfigError(f"--{FILE} {file}: cannot be read: {error}") from error
    where = file or f"--{INLINE}"
    values = document.read(text, where)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: is not a mapping; write lines such as port: 8000")
    for name in values:
        if name not in FLAGS and name not in RENAMED and name not in STAGED:
            raise ConfigError(with_hint(f'{where}: unknown key "{name}"', str(name), FLAGS))
    return {name: value for name, value in values.items() if value is not None}


def _environment(environment: Mapping[str, str]) -> Values:
    values = {
        name: _plain(name, environment[flag.env])
        for name, flag in FLAGS.items()
        if flag.env and environment.get(flag.env)
    }
    if address := environment.get(METRICS_ADDRESS):
        values["metrics-port"] = _plain("metrics-port", address.rpartition(":")[2])
    return values


def _current(source: Values, warnings: list[str]) -> Values:
    """The values under today's names; former names are told to `warnings`."""
    values = {name: value for name, value in source.items() if name in FLAGS}
    for former, name in RENAMED.items():
        if former in source:
            warnings.append(f"--{former} is deprecated: write --{name}")
            values.setdefault(name, source[former])
    for former, (name, stage) in STAGED.items():
        if former in source:
            warnings.append(f"--{former} is deprecated: write --{name}={stage}")
            if _boolean(source[former]) is True:
                values[name] = [*_items(values.get(name, [])), stage]
    return values


# === plain values ===


def _plain(name: str, value: Any) -> Any:
    """A value as its option's type has it; what does not fit is left for the check to tell."""
    kind = FLAGS[name].kind
    if kind is tuple:
        return _items(value)
    if kind is bool:
        return _boolean(value)
    if kind is int and isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _items(value: Any) -> Any:
    """The items of a list; each text in it, or instead of it, may be several with commas."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        return value
    return [item.strip() for text in texts for item in text.split(",") if item.strip()]


def _boolean(value: Any) -> Any:
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value
