"""How fast each endpoint's KV cache turns over: what has been computed there of late, as a share of its room.

What comes new into a full cache pushes out what was used least recently. Where much comes new, prefixes
are gone before anybody asks for them again; so new prompts belong where there has been little. One minute is
about as long as people and programs take until they go on with a conversation.
"""

from math import exp
from typing import Final

import numpy as np

from endpoint_picker.core.endpoints import EndpointTable, Rows, Vector

LATELY: Final = 60.0
"""Seconds after which what has been computed counts 1/e."""
ASSUMED: Final = 262_144.0
"""Tokens that a cache has room for where nobody tells: that of a large model on two accelerators, or so."""
_RESCALED: Final = 10.0
"""Times LATELY after which sums are written anew, so that their scale does not grow without end."""


class Turnover:
    """By table row, of what this picker has sent."""

    def __init__(self, table: EndpointTable) -> None:
        self._table = table
        self._sums = np.zeros(0)
        """Tokens, each at the scale of its time: e^((time - since) / LATELY)."""
        self._since = 0.0
        self._generation = np.zeros(0, np.int64)
        self._version = -1

    def computed(self, row: int, tokens: float, now: float) -> None:
        """So many tokens are new there."""
        self._fit()
        age = (now - self._since) / LATELY
        if not 0.0 <= age < _RESCALED:
            self._sums *= exp(-min(max(age, 0.0), 700.0))
            self._since, age = now, 0.0
        self._sums[row] += tokens * exp(age)

    def shares(self, rows: Rows, now: float) -> Vector:
        """Of each endpoint's room, shape (n,); more than 1 where it has been overwritten."""
        self._fit()
        sums: Vector = self._sums[rows]
        sums *= exp(-min(max((now - self._since) / LATELY, 0.0), 700.0))
        room = self._table.room[rows]
        if len(rows) and room.item(room.argmax()) == np.inf:
            known = room[room < np.inf]
            room[room == np.inf] = known.mean() if len(known) else ASSUMED
        sums /= room
        return sums

    def _fit(self) -> None:
        """Follow the table: it may have grown, and have another endpoint in a row."""
        table = self._table
        if self._version == table.version:
            return
        extra = table.capacity - len(self._sums)
        self._sums = np.pad(self._sums, (0, extra))
        self._generation = np.pad(self._generation, (0, extra))
        self._sums[self._generation != table.generation] = 0.0
        self._generation = table.generation.copy()
        self._version = table.version
