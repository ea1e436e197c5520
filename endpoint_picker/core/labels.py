"""What follows from the labels of endpoints, worked out once for each version of the table.

Labels change with the pool's membership only, while requests come by the thousand: whoever goes by labels
looks at them once, and answers requests from arrays over all rows.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import numpy as np

from endpoint_picker.core.endpoints import EndpointTable, Mask, Rows
from endpoint_picker.core.records import record

T = TypeVar("T")

ABSENT: Final = -1
"""Number of a label that an endpoint does not have."""
_NOBODYS: Final = -2
"""Number of a value that no endpoint has: equal to nothing, not to ABSENT either."""

Labels = Mapping[str, str]


class ByVersion(Generic[T]):
    """A value that depends on the members of a table, and on their labels, only."""

    def __init__(self, work_out: Callable[[EndpointTable], T]) -> None:
        self._work_out = work_out
        self._table: EndpointTable | None = None
        self._version = -1
        self._value: T

    def of(self, table: EndpointTable) -> T:
        """The value for the table as it is now."""
        if table is not self._table or table.version != self._version:
            self._value = self._work_out(table)
            self._table, self._version = table, table.version
        return self._value


def mask_of(matches: Callable[[Labels], bool]) -> ByVersion[Mask]:
    """The rows of the endpoints whose labels match, as a mask of shape (capacity,)."""

    def over(table: EndpointTable) -> Mask:
        mask = np.zeros(table.capacity, np.bool_)
        for row in table.live.tolist():
            mask[row] = matches(table[row].labels)
        return mask

    return ByVersion(over)


@record
class Numbered:
    """One label's values as numbers, so that a comparison is one pass over an array."""

    rows: Rows
    """Shape (capacity,): the number of each row's value; ABSENT where it has none."""
    numbers: Mapping[str, int]

    def number(self, value: str) -> int:
        """The number of a value; one that no row has where nobody has the value."""
        return self.numbers.get(value, _NOBODYS)


def numbered(key: str) -> ByVersion[Numbered]:
    """The values of one label. An empty value says nothing, and counts as absent."""

    def over(table: EndpointTable) -> Numbered:
        rows, numbers = np.full(table.capacity, ABSENT, np.int64), dict[str, int]()
        for row in table.live.tolist():
            value = table[row].labels.get(key)
            if value:
                rows[row] = numbers.setdefault(value, len(numbers))
        return Numbered(rows, numbers)

    return ByVersion(over)
