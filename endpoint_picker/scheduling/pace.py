"""How fast each endpoint computes prompts, relative to the others, learned from what is seen of them.

A prompt's first token says that its tokens are computed; what lies between it and the first token before it
(or the prompt's own dispatch, if that was later) is what they took. Much disturbs that: a prompt waits for
memory, or more of it was cached than was thought. So of an endpoint's last prompts the median counts, weighed
by tokens and by how long ago they were. Nobody needs to know what a token takes: only who is slower than the
others counts.
"""

from typing import Final

import numpy as np

from endpoint_picker.core.endpoints import EndpointTable, Rows, Vector

LAST: Final = 16
"""Prompts of an endpoint that are remembered."""
WEIGHTIEST: Final = 4_096.0
"""Tokens from which on a prompt weighs no more: of the longest, little may have been new after all."""
FADING: Final = 20.0
"""Seconds after which a prompt counts 1/e: who was slow loses its traffic, and regains it."""
PRIOR: Final = 8_000.0
"""Tokens for which an endpoint is taken to be like the others, whatever is seen of it."""
EXTREME: Final = 16.0
"""How much slower (or faster) than the others an endpoint is taken to be at most."""


class Pace:
    """Seconds a token of each endpoint, by table row."""

    def __init__(self, table: EndpointTable) -> None:
        self._table = table
        self._prompts = np.zeros((0, LAST, 3))
        """Row → its last prompts: when, tokens, seconds a token."""
        self._news: set[int] = set()
        """Rows with prompts that have not been looked at."""
        self._count = self._generation = np.zeros(0, np.int64)
        self._pace = self._tokens = self._at = self._last = np.zeros(0)

    def computed(self, row: int, tokens: float, *, since: float, now: float) -> None:
        """A prompt of so many new tokens, sent there at `since`, has its first token now."""
        self._fit(row)
        seconds = max(0.0, now - max(since, self._last[row]))
        self._last[row] = now
        self._prompts[row, self._count[row] % LAST] = now, tokens, seconds / tokens
        self._count[row] += 1
        self._news.add(row)

    def slowness(self, rows: Rows, now: float) -> Vector:
        """Time a token relative to all others together, shape (n,): 2 takes twice as long."""
        self._fit()
        while self._news:
            self._settle(self._news.pop())
        known = self._generation[rows] == self._table.generation[rows]
        tokens = self._tokens[rows] * np.exp((self._at[rows] - now) / FADING) * known
        total = tokens.sum()
        if total <= 0.0 or (usual := (self._pace[rows] * tokens).sum() / total) <= 0.0:
            return np.ones(len(rows))
        found: Vector = (self._pace[rows] / usual * tokens + PRIOR) / (tokens + PRIOR)
        return np.clip(found, 1.0 / EXTREME, EXTREME)

    def _settle(self, row: int) -> None:
        """Find the median of an endpoint's prompts."""
        whens, sizes, paces = self._prompts[row, : self._count[row]].T
        weights = np.minimum(sizes, WEIGHTIEST) * np.exp((whens - self._last[row]) / FADING)
        order = paces.argsort()
        reached = weights[order].cumsum()
        self._pace[row] = paces[order[reached.searchsorted(reached[-1] / 2)]]
        self._tokens[row], self._at[row] = reached[-1], self._last[row]

    def _fit(self, row: int | None = None) -> None:
        """Follow the table: it may have grown, and have another endpoint in this row."""
        extra = self._table.capacity - len(self._tokens)
        if extra > 0:
            self._prompts = np.concatenate([self._prompts, np.zeros((extra, LAST, 3))])
            self._pace, self._tokens, self._at, self._last = (
                np.append(column, np.zeros(extra))
                for column in (self._pace, self._tokens, self._at, self._last)
            )
            self._count, self._generation = (
                np.append(column, np.zeros(extra, np.int64)) for column in (self._count, self._generation)
            )
        if row is not None and self._generation[row] != self._table.generation[row]:
            self._generation[row] = self._table.generation[row]
            self._count[row] = 0
            self._pace[row] = self._tokens[row] = self._at[row] = 0.0
            self._last[row] = -np.inf
