"""Plain values → structs, with messages that a person can act on.

msgspec stops at the first unknown key and names no alternative, so the keys are checked here first,
against the same structs: each unknown one is reported on a line of its own, by its full path, with the
nearest valid key.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from endpoint_picker.config import hints, units
from endpoint_picker.config.lines import Lines, placed
from endpoint_picker.core.errors import ConfigError

log = logging.getLogger(__name__)

S = TypeVar("S", bound=msgspec.Struct)
Unknown = tuple[str, str]
"""The path of a key that nothing reads, and what to say of it."""

_WORDS: Final = {
    "array": "a list",
    "object": "a mapping",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
}
"""The library's names of types → what a person calls them."""
_TYPE: Final = re.compile(rf"`({'|'.join(_WORDS)})`")
_PATH: Final = re.compile(r" - at `(key in )?\$([^`]*)`$")
_NO_CHOICE: Final = re.compile(r"^Invalid enum value (['\"])(.*)\1$", re.DOTALL)
_STEP: Final = re.compile(r"\.\.\.|[^.\[\]]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: what each message about it begins with."""

    source: str
    """A file."""
    subject: str = ""
    """What in it the value belongs to, such as a plugin."""
    path: str = ""
    """Of the value, within the subject."""
    lines: Lines = field(default_factory=Lines)
    """Of the value."""

    def told(self, text: str, inner: str = "") -> str:
        """A message about the value, or about what stands in it under a path of its own."""
        relative = inner.removeprefix(self.path).removeprefix(".")
        where = placed(self.source, self.lines.at(relative).line)
        return f"{where}: {self.subject}: {text}" if self.subject else f"{where}: {text}"


def decode(value: Any, schema: type[S], *, where: str | Place, lenient: bool = False) -> S:
    """The value as an instance of `schema`.

    `where` is the place that messages name, or just a file. Lenient: unknown keys are logged and dropped.
    Raises ConfigError.
    """
    place = where if isinstance(where, Place) else Place(where)
    unknown: list[Unknown] = []
    known = _known(value, inspect.type_info(schema), place.path, unknown)
    if unknown and not lenient:
        raise ConfigError("\n".join(place.told(text, path) for path, text in unknown))
    for path, text in unknown:
        log.warning("%s; it is ignored", place.told(text, path))
    try:
        return msgspec.convert(known, schema, dec_hook=units.decode)
    except msgspec.ValidationError as error:
        path, text = _located(str(error), place.path)
        text = _with_choices(text, inspect.type_info(schema), path.removeprefix(place.path))
        raise ConfigError(place.told(f"{path}: {text}" if path else text, path)) from error


def _known(value: Any, kind: inspect.Type, path: str, unknown: list[Unknown]) -> Any:
    """The value without the keys that its type has no field for; those are told to `unknown`."""
    struct, item = _shapes(kind)
    if isinstance(value, dict) and struct is not None:
        return dict(_fields(value, struct, path, unknown))
    if isinstance(value, dict) and isinstance(item, inspect.DictType):
        return {key: _known(each, item.value_type, _join(path, key), unknown) for key, each in value.items()}
    if isinstance(value, list) and isinstance(item, inspect.VarTupleType | inspect.ListType):
        return [_known(each, item.item_type, f"{path}[{i}]", unknown) for i, each in enumerate(value)]
    return value


def _fields(
    value: dict[str, Any], struct: inspect.StructType, path: str, unknown: list[Unknown]
) -> Iterator[tuple[str, Any]]:
    types = {field.encode_name: field.type for field in struct.fields}
    for key, each in value.items():
        if key not in types:
            inner = _join(path, key)
            unknown.append((inner, hints.with_hint(f'unknown key "{inner}"', key, types)))
        # A key with nothing behind it is a key that was left out.
        elif each is not None or _nullable(types[key]):
            yield key, _known(each, types[key], _join(path, key), unknown)


def _shapes(kind: inspect.Type) -> tuple[inspect.StructType | None, inspect.Type | None]:
    """The struct and the container that a value of this type may be."""
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    struct = next((option for option in options if isinstance(option, inspect.StructType)), None)
    containers = inspect.VarTupleType | inspect.ListType | inspect.DictType
    return struct, next((option for option in options if isinstance(option, containers)), None)


def _nullable(kind: inspect.Type) -> bool:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return any(isinstance(option, inspect.NoneType | inspect.AnyType) for option in options)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _located(message: str, path: str) -> tuple[str, str]:
    """The library's message as the path, such as `plugins[2].weight`, and what is wrong there."""
    found = _PATH.search(message)
    inner = found[2] if found else ""
    text = _TYPE.sub(lambda name: _WORDS[name[1]], message[: found.start()] if found else message)
    return path + inner if path else inner.removeprefix("."), text


def _with_choices(message: str, kind: inspect.Type, path: str) -> str:
    """The message; where a text is none of those that may stand there, with the ones that may."""
    wrong = _NO_CHOICE.search(message)
    if wrong is None:
        return message
    for step in _STEP.findall(path):
        struct, item = _shapes(kind)
        fields = {field.encode_name: field.type for field in struct.fields} if struct else {}
        if step in fields:
            kind = fields[step]
        elif isinstance(item, inspect.DictType):
            kind = item.value_type
        elif isinstance(item, inspect.VarTupleType | inspect.ListType):
            kind = item.item_type
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    valid = [str(value) for each in options if isinstance(each, inspect.LiteralType) for value in each.values]
    return hints.with_hint(f"'{wrong[2]}' is not right here", wrong[2], valid)
