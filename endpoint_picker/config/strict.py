"""Plain values → structs, with messages that a person can act on.

msgspec stops at the first unknown key and names no alternative, so the keys are checked here first,
against the same structs: each unknown one is reported by its full path with the nearest valid key.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from endpoint_picker.config import hints, units
from endpoint_picker.core.errors import ConfigError

log = logging.getLogger(__name__)

S = TypeVar("S", bound=msgspec.Struct)

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


def decode(value: Any, schema: type[S], *, where: str, path: str = "", lenient: bool = False) -> S:
    """The value as an instance of `schema`.

    `where` opens each message (a file, a plugin); `path` is where in the file the value stands. Lenient:
    unknown keys are logged and dropped. Raises ConfigError.
    """
    unknown: list[str] = []
    known = _known(value, inspect.type_info(schema), path, unknown)
    if unknown and not lenient:
        raise ConfigError(f"{where}: {'; '.join(unknown)}")
    for text in unknown:
        log.warning("%s: %s; it is ignored", where, text)
    try:
        return msgspec.convert(known, schema, dec_hook=units.decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_located(str(error), path)}") from error


def _known(value: Any, kind: inspect.Type, path: str, unknown: list[str]) -> Any:
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
    value: dict[str, Any], struct: inspect.StructType, path: str, unknown: list[str]
) -> Iterator[tuple[str, Any]]:
    types = {field.encode_name: field.type for field in struct.fields}
    for key, each in value.items():
        if key not in types:
            unknown.append(hints.with_hint(f'unknown key "{_join(path, key)}"', key, types))
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


def _located(message: str, path: str) -> str:
    """The library's message with the path in front, as in `plugins[2].weight: Expected …`."""
    found = _PATH.search(message)
    inner = found[2] if found else ""
    place = path + inner if path else inner.removeprefix(".")
    text = _TYPE.sub(lambda name: _WORDS[name[1]], message[: found.start()] if found else message)
    return f"{place}: {text}" if place else text
