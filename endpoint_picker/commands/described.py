"""The catalog in words, taken from the code: what each plugin is, does and takes.

The first line of a plugin's docstring says what it does, and the docstring under an attribute of its schema
what a parameter means, so that there is one place to write either.
"""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT
from msgspec import inspect as types

from endpoint_picker.catalog import ALIASES, DEPRECATED
from endpoint_picker.commands import effective
from endpoint_picker.commands.roles import kinds
from endpoint_picker.config.units import Duration, GoDuration, Quantity
from endpoint_picker.plugin import Plugin

_LISTS: Final = types.VarTupleType | types.ListType
_UNITS: Final[dict[type, str]] = {
    Duration: "duration",
    GoDuration: "duration or nanoseconds",
    Quantity: "quantity",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of a plugin's parameters; keys of mappings in it are joined with dots."""

    name: str
    type: str
    default: Any
    required: bool
    says: str


@dataclass(frozen=True, slots=True)
class Described:
    """One type of the catalog."""

    type: str
    kind: str
    stability: str
    does: str
    parameters: tuple[Parameter, ...] = ()
    other_names: tuple[str, ...] = ()
    """Old names that still work."""
    instead: str = ""
    """Where the type is deprecated: what to write today."""


def described(plugin: type[Plugin]) -> Described:
    return Described(
        type=plugin.type,
        kind=", ".join(kinds(plugin)),
        stability=plugin.stability,
        does=_does(plugin),
        parameters=tuple(_parameters(plugin.schema)) if plugin.schema else (),
        other_names=tuple(old for old, today in ALIASES.items() if today == plugin.type),
        instead=DEPRECATED.get(plugin.type, ""),
    )


def _does(plugin: type[Plugin]) -> str:
    """The first paragraph of the docstring, without the type that stands in it for those who search."""
    text = " ".join((plugin.__doc__ or "").split("\n\n")[0].split())
    text = text.removeprefix(f"`{plugin.type}`:").replace(f" (`{plugin.type}`)", "").strip()
    text = text.replace(" (deprecated)", "")  # which is told with what to write instead
    return text[:1].upper() + text[1:]


def _parameters(
    schema: type[msgspec.Struct],
    path: str = "",
    above: tuple[type, ...] = (),
    given: Mapping[str, Any] | None = None,
) -> Iterator[Parameter]:
    """`given` are the defaults where the mapping itself is there by default."""
    says, within = _attribute_docs(schema), (*above, schema)
    kind = types.type_info(schema)
    assert isinstance(kind, types.StructType)
    for each in kind.fields:
        name, inner = f"{path}{each.encode_name}", _inner(each.type)
        default = _default(each) if given is None else given[each.encode_name]
        there = default if inner and isinstance(default, dict) else None
        if there is None:
            required = each.required and given is None
            yield Parameter(name, _type(each.type), default, required, says.get(each.name, ""))
        if inner and inner not in within:
            mark = "[]." if any(isinstance(option, _LISTS) for option in _options(each.type)) else "."
            yield from _parameters(inner, f"{name}{mark}", within, there)


def _default(each: types.Field) -> Any:
    if each.default is not NODEFAULT:
        return effective.plain(each.default)
    return effective.plain(each.default_factory()) if each.default_factory is not NODEFAULT else None


def _inner(kind: types.Type) -> type[msgspec.Struct] | None:
    """The struct whose keys stand under a key of this type."""
    for option in _options(kind):
        if isinstance(option, _LISTS):
            return _inner(option.item_type)
        if isinstance(option, types.StructType):
            return option.cls
    return None


def _options(kind: types.Type) -> tuple[types.Type, ...]:
    options = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return tuple(option for option in options if not isinstance(option, types.NoneType))


def _type(kind: types.Type) -> str:
    return " or ".join(_one_type(option) for option in _options(kind))


def _one_type(kind: types.Type) -> str:
    if isinstance(kind, types.LiteralType):
        return " | ".join(str(value) for value in kind.values)
    if isinstance(kind, _LISTS):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, types.CustomType):
        return _UNITS.get(kind.cls, kind.cls.__name__)
    names = {
        types.BoolType: "boolean",
        types.IntType: "whole number",
        types.FloatType: "number",
        types.StrType: "text",
        types.StructType: "mapping",
        types.DictType: "mapping",
        types.AnyType: "anything",
    }
    return names.get(type(kind), type(kind).__name__)


@cache
def _attribute_docs(schema: type) -> Mapping[str, str]:
    """Attribute → the docstring under it, those of the classes above included."""
    found: dict[str, str] = {}
    for each in reversed(schema.__mro__):
        if issubclass(each, msgspec.Struct) and each.__module__.partition(".")[0] != "msgspec":
            found |= _docs_in(textwrap.dedent(inspect.getsource(each)))
    return found


def _docs_in(source: str) -> dict[str, str]:
    (body,) = [each.body for each in ast.parse(source).body if isinstance(each, ast.ClassDef)]
    found: dict[str, str] = {}
    for attribute, after in itertools.pairwise(body):
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[attribute.target.id] = " ".join(text.value.split())
    return found
