"""Which endpoints have left since somebody last looked: what was remembered of their rows is void."""

import numpy as np

from endpoint_picker.core.endpoints import EndpointTable, Rows


class Departures:
    """Compares the table with itself at an earlier time."""

    __slots__ = ("_generations", "_table", "_version")

    def __init__(self, table: EndpointTable) -> None:
        self._table = table
        self._generations: Rows = table.generation.copy()
        self._version = table.version

    def rows(self) -> list[int]:
        """Rows that hold another endpoint than at the last call, or none any more."""
        table = self._table
        if table.version == self._version:
            return []
        before = self._generations
        gone = (table.generation[: len(before)] != before) & (before % 2 == 1)
        self._generations, self._version = table.generation.copy(), table.version
        rows: list[int] = np.flatnonzero(gone).tolist()
        return rows
