"""Pickers: from totals to an ordered list of rows; later ones serve when the first cannot be reached."""

from typing import Any

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Rows, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class Most(Parameters, frozen=True):
    """How many endpoints are named at most."""

    max_num_of_endpoints: int = 1
    """Less than one means one."""


class _Picker(Plugin):
    """Knows how many rows to name, and owns a generator for orders of many rows."""

    schema = Most

    def __init__(self, name: str, parameters: Any, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self.most = max(1, parameters.max_num_of_endpoints)
        # Seeded from the one owned source, so that a seed there makes these orders repeatable too.
        self._generator = np.random.default_rng(wiring.rng.getrandbits(64))


class MaxScore(_Picker):
    """`max-score-picker`: the best totals; among equal ones each is as likely as the other."""

    type = "max-score-picker"

    def pick(self, request: Request, candidates: Candidates, totals: Vector) -> Rows:
        """Rows by total, descending."""
        if self.most > 1:
            shuffled = self._generator.permutation(len(totals))
            order = shuffled[(-totals[shuffled]).argsort(kind="stable")]
            return candidates.rows[order[: self.most]]
        # The usual case, without sorting: the best one, unless another one after it has the same total.
        best = int(totals.argmax())
        rest = totals[best + 1 :]
        if len(rest) and rest[rest.argmax()] == totals[best]:
            tied = (totals == totals[best]).nonzero()[0]
            best = int(tied[self.wiring.rng.randrange(len(tied))])
        return candidates.rows[best : best + 1]


class Uniform(_Picker):
    """`random-picker`: any candidate, whatever its total."""

    type = "random-picker"

    def pick(self, request: Request, candidates: Candidates, totals: Vector) -> Rows:
        """Rows in random order."""
        if self.most > 1:
            return candidates.rows[self._generator.permutation(len(totals))[: self.most]]
        chosen = self.wiring.rng.randrange(len(totals))
        return candidates.rows[chosen : chosen + 1]


class Weighted(_Picker):
    """`weighted-random-picker`: the better the total, the likelier; totals of 0 or less come last."""

    type = "weighted-random-picker"

    def pick(self, request: Request, candidates: Candidates, totals: Vector) -> Rows:
        """Weighted sampling without replacement (Efraimidis and Spirakis, A-Res).

        Its key U^(1/total), descending, orders as -ln(U) / total ascending: exponential variates.
        """
        waits = self._generator.standard_exponential(len(totals))
        positive = totals > 0.0
        # Those without weight come after all others, in random order among themselves.
        with np.errstate(over="ignore"):  # a total next to nothing waits for ever
            np.divide(waits, totals, out=waits, where=positive)
        order = np.lexsort((waits, ~positive))
        return candidates.rows[order[: self.most]]
