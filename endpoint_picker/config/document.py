"""Reads YAML (and so JSON) into plain values, strictly and within bounds.

A configuration decides where traffic goes, so what is ambiguous is an error instead of a guess: a key
written twice, several documents, a tag. The text comes from people and from templates, so what could
blow up is bounded: size, depth, and what aliases expand to. Numbers follow the core schema of YAML 1.2
(`1e3` is a number, `12:30` is text); `yes` and `on` still mean true, as in older files.
"""

import re
from typing import Any, Final

import yaml

from endpoint_picker.config.lines import Lines, placed
from endpoint_picker.core.errors import ConfigError

LARGEST: Final = 1 << 20
"""Characters of a document: what a Kubernetes ConfigMap can hold."""
DEEPEST: Final = 64
MOST_VALUES: Final = 100_000
"""Values of a document, counting each use of an alias with all that it stands for."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(_CORE + kind for kind in ("bool", "float", "int", "map", "null", "seq", "str"))
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_INT: Final = re.compile(r"[-+]?[0-9]{1,20}")
_BASED: Final = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")


def read(text: str, source: str) -> Any:
    """The one document in the text as dict, list, str, int, float, bool or None; None when it is empty.

    `source` names the text in messages. Raises ConfigError.
    """
    return read_with_lines(text, source)[0]


def read_with_lines(text: str, source: str) -> tuple[Any, Lines]:
    """The same, and on which lines its values stand."""
    if len(text) > LARGEST:
        raise ConfigError(f"{source}: {len(text)} characters are too long; the limit is {LARGEST}")
    try:
        return _Builder(_LOADER(text), source).document()
    except yaml.YAMLError as error:
        where = placed(source, _line_of(error))
        raise ConfigError(f"{where}: not valid YAML or JSON: {_one_line(error)}") from error
    except (UnicodeError, ValueError) as error:
        raise ConfigError(f"{source}: not valid YAML or JSON: {error}") from error


class _Builder:
    """Builds values from the parser's events, which come one by one and never recurse."""

    def __init__(self, events: Any, source: str) -> None:
        self._events = events
        self._source = source
        self._values = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        """Anchor → its value, and how many values that is; entered once it is complete."""

    def document(self) -> tuple[Any, Lines]:
        """The only document, or None."""
        found: list[Any] = []
        lines = Lines()
        while not isinstance(event := self._events.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if found:
                    raise self._wrong(event, "a second document begins here; keep one and remove the rest")
                found.append(self._value(self._events.get_event(), 0, lines))
        return (found[0] if found else None), lines

    def _value(self, event: Any, depth: int, lines: Lines) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > DEEPEST:
            raise self._wrong(event, f"nested deeper than {DEEPEST} levels")
        if event.tag is not None and event.tag not in _TAGS and event.tag != "!":
            raise self._wrong(event, f"the tag {event.tag} is not allowed; write a plain value")
        before = self._values
        self._count(event, 1)
        value = self._built(event, depth, lines)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._values - before)
        return value

    def _built(self, event: Any, depth: int, lines: Lines) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth, lines)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth, lines)
        plain = event.implicit[0] and event.tag is None
        if plain or (event.tag is not None and event.tag not in ("!", _CORE + "str")):
            return scalar(event.value)
        return event.value

    def _sequence(self, depth: int, lines: Lines) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._events.get_event(), yaml.SequenceEndEvent):
            inner = lines.inner[f"[{len(items)}]"] = Lines(_line(event))
            items.append(self._value(event, depth + 1, inner))
        return items

    def _mapping(self, depth: int, lines: Lines) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not isinstance(event := self._events.get_event(), yaml.MappingEndEvent):
            key = self._key(event)
            if key in pairs:
                raise self._wrong(event, f'the key "{key}" is written twice in one mapping; remove one')
            inner = lines.inner[key] = Lines(_line(event))
            pairs[key] = self._value(self._events.get_event(), depth + 1, inner)
        return pairs

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._wrong(event, "a key must be plain text")
        if event.value == "<<" and event.implicit[0]:
            raise self._wrong(event, "merging mappings with << is not supported; write the keys out")
        return str(event.value)

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise self._wrong(event, f"the alias *{event.anchor} stands before, or inside, its anchor")
        value, size = self._anchors[event.anchor]
        self._count(event, size)
        return value

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise self._wrong(event, f"more than {MOST_VALUES} values, aliases included")

    def _wrong(self, event: Any, what: str) -> ConfigError:
        return ConfigError(f"{placed(self._source, _line(event))}: {what}")


def scalar(text: str) -> Any:
    """What an unquoted text means: a number, a truth value, nothing, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _line_of(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return 0 if mark is None else int(mark.line) + 1


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
