"""How fast each endpoint computes prompts, relative to the others, learned from what is seen of them.

A prompt's first token says that its tokens are computed; what lies between it and the first token before it
(or the prompt's own dispatch, if that was later) is what they took. Sums of both fade with time, so that what
an endpoint was like a minute ago counts no longer. Nobody needs to know what a token takes: only who is
slower than the others counts.
"""

from typing import Final

import numpy as np

from endpoint_picker.core.endpoints import EndpointTable, Rows, Vector

FADING: Final = 20.0
"""Seconds after which an observation counts 1/e: slow ones lose their traffic, and regain it."""
PRIOR: Final = 8_000.0
"""Tokens for which an endpoint is taken to be like the others, whatever is seen of it."""
EXTREME: Final = 16.0
"""How much slower (or faster) than the others an endpoint is taken to be at most."""


class Pace:
    """Seconds and tokens of each endpoint, by table row."""

    def __init__(self, table: EndpointTable) -> None:
        self._table = table
        self._seconds = self._tokens = self._last = np.zeros(0)
        self._at = np.zeros(0)
        self._generation = np.zeros(0, np.int64)

    def computed(self, row: int, tokens: float, *, since: float, now: float) -> None:
        """A prompt of so many new tokens, sent there at `since`, has its first token now."""
        self._fit()
        if self._generation[row] != self._table.generation[row]:
            self._begin(row)
        begun = max(since, self._last[row])
        kept = np.exp((self._at[row] - now) / FADING)
        self._seconds[row] = self._seconds[row] * kept + max(0.0, now - begun)
        self._tokens[row] = self._tokens[row] * kept + tokens
        self._at[row] = self._last[row] = now

    def slowness(self, rows: Rows, now: float) -> Vector:
        """Time a token relative to all others together, shape (n,): 2 takes twice as long."""
        self._fit()
        known = self._generation[rows] == self._table.generation[rows]
        kept = np.exp((self._at[rows] - now) / FADING) * known
        seconds, tokens = self._seconds[rows] * kept, self._tokens[rows] * kept
        total = tokens.sum()
        if total <= 0.0 or (usual := seconds.sum() / total) <= 0.0:
            return np.ones(len(rows))
        found: Vector = (seconds / usual + PRIOR) / (tokens + PRIOR)
        return np.clip(found, 1.0 / EXTREME, EXTREME)

    def _begin(self, row: int) -> None:
        """Another endpoint is in this row now."""
        self._generation[row] = self._table.generation[row]
        self._seconds[row] = self._tokens[row] = 0.0
        self._last[row] = self._at[row] = -np.inf
        self._at[row] = 0.0

    def _fit(self) -> None:
        extra = self._table.capacity - len(self._tokens)
        if extra > 0:
            self._seconds, self._tokens, self._at = (
                np.append(column, np.zeros(extra)) for column in (self._seconds, self._tokens, self._at)
            )
            self._last = np.append(self._last, np.full(extra, -np.inf))
            self._generation = np.append(self._generation, np.zeros(extra, np.int64))
