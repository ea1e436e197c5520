"""What a call has changed: the state of a table and a request before it, compared with that after it."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from endpoint_picker.core.adapters import Adapters
from endpoint_picker.core.attributes import Attributes, Key, T
from endpoint_picker.core.endpoints import Candidates, EndpointTable
from endpoint_picker.core.request import Request

State = dict[str, Any]


class Noted(Attributes):
    """Facts that remember what was written, so that a test can tell who wrote what."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[Key[Any], Any] = {}

    def write(self, key: Key[T], value: T) -> None:
        super().write(key, value)
        self.written[key] = value


def state_of(table: EndpointTable, request: Request, candidates: Candidates) -> State:
    """All that a plugin can reach, by name; nothing in it changes any more."""
    return {
        **{f"table.{name}": value for name, value in _columns(table)},
        **{f"request.{field.name}": _frozen(getattr(request, field.name)) for field in fields(request)},
        "candidates.rows": _frozen(candidates.rows),
    }


def changes(before: State, after: State, *, allowed: frozenset[str] = frozenset()) -> list[str]:
    """The names under which something is not as it was."""
    return [name for name, value in before.items() if name not in allowed and after[name] != value]


def _columns(table: EndpointTable) -> Iterator[tuple[str, Any]]:
    # `loads` is columns that are there by name.
    public = (name for name in vars(table) if not name.startswith("_") and name != "loads")
    yield from ((name, _frozen(getattr(table, name))) for name in public)
    yield "live", _frozen(table.live)
    yield "endpoints", tuple((each.id, each.host_port, _frozen(each.labels)) for each in table)


def _frozen(value: Any) -> Any:
    """The same as something that can be compared: arrays as their bytes, so that NaN equals NaN."""
    match value:
        case np.ndarray():
            return (value.dtype.str, value.shape, value.tobytes())
        case Noted():
            return _frozen(value.written)
        case Adapters():
            return value.names
        case Mapping():
            return {key: _frozen(each) for key, each in value.items()}
        case tuple() | list():
            return [_frozen(each) for each in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return [_frozen(getattr(value, field.name)) for field in fields(value)]
    return value
