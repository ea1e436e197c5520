"""The scorer that weighs everything in tokens to compute, so that nobody has to tune it to an engine."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import LOADS, Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.scheduling.pace import Pace
from endpoint_picker.scheduling.scorers.load import INFLIGHT
from endpoint_picker.scheduling.scorers.prefix import APPROXIMATE

STEP: Final = 256.0
"""Tokens that could be computed in the time that a step takes before it computes any."""
READ: Final = 0.2
"""What the steps of each request read of the cache, in shares of computing as many tokens."""
OVERFLOWED: Final = 2.0
"""What a token costs for which another one has to leave the cache: it is computed again."""
NEW: Final = 16.0
"""A token that is computed anywhere is capacity taken from whoever comes next, and room in a cache."""
RECENT: Final = 50.0
"""Requests over which the tokens of a prompt are averaged, for those of other pickers."""
_OTHERS: Final = slice(LOADS.index("others"), None)


class WorkParameters(Parameters, frozen=True):
    """Who tells what a request costs where, and who tells what of its prompt is cached."""

    in_flight_load_producer_name: str = INFLIGHT
    prefix_match_info_producer_name: str = APPROXIMATE
    """The one that the producer of the load reads."""


class PrefillWork(Plugin):
    """`prefill-work-scorer`: least work until the first token, for this request and for those that it delays.

    With u new tokens here (and 256 for the step), W the same of requests without a first token, n requests
    and C prompt tokens in flight, L tokens of this prompt, and O new tokens in flight beyond the KV cache:
    cost = W + u * (slow + 16) + 0.2 * (C + n * (L + 256)) + 2 * O; score = least cost / cost.
    `slow`, the time a token relative to the others, is learned from first tokens.
    """

    type = "prefill-work-scorer"
    stability = "beta"
    schema = WorkParameters
    parameters: WorkParameters

    def __init__(self, name: str, parameters: WorkParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._cost = attributes.uncached_tokens(parameters.in_flight_load_producer_name)
        self._sent: Key[float] = Key("SentAt", name)
        self.pace = Pace(wiring.table)
        self._usual = 0.0
        """Tokens of a prompt, on average of late."""

    def adopt(self, old: Plugin) -> None:
        if isinstance(old, PrefillWork):
            self.pace, self._usual = old.pace, old._usual

    def requires(self) -> Sequence[Key[Any]]:
        return (self._cost, attributes.prefix_match(self.parameters.prefix_match_info_producer_name))

    def score(self, request: Request, candidates: Candidates) -> Vector:
        if not len(candidates):
            return np.empty(0)
        cost = self.costs(request, candidates)
        best: Vector = cost[cost.argmin()] / cost
        return best

    def costs(self, request: Request, candidates: Candidates) -> Vector:
        """In tokens, shape (n,)."""
        table, rows = candidates.table, candidates.rows
        asked = request.attributes.read(self._cost)
        prompt, new = (asked.tokens, asked.on(rows) + STEP) if asked is not None else (0, STEP)
        one, usual = READ * (prompt + STEP), self._usual
        # In the order of LOADS: what each costs, and what each takes of the KV cache. Of a prefix that
        # several share there is one copy: only what is new takes room.
        costs = (one, 0.0, 1.0, STEP, READ, one + READ * usual, usual + STEP)
        takes = (0.0, 1.0, 0.0, 0.0, 0.0, usual, 0.0)
        total: Vector
        total, taken = np.array((costs, takes)) @ self._loads(candidates)
        # What waits on a slow endpoint is there for longer: W and n say so themselves.
        total += new * (self.pace.slowness(rows, candidates.now) + NEW)
        taken += new - table.room[rows]
        if taken[taken.argmax()] > 0.0:
            total += OVERFLOWED * np.maximum(taken, 0.0)
        return total

    def _loads(self, candidates: Candidates) -> Vector:
        """The table's, shape (7, n); other pickers have sent nothing where no reading counts."""
        table, rows = candidates.table, candidates.rows
        loads: Vector = table.loads[:, rows]
        stale = table.stale(rows, candidates.now)
        if stale is not None:
            loads[_OTHERS, stale] = 0.0
        return loads

    def learn(self, request: Request, decision: Decision) -> None:
        request.attributes.write(self._sent, self.wiring.clock())
        asked = request.attributes.read(self._cost)
        if asked is not None:
            self._usual += (asked.tokens - self._usual) / RECENT

    def learn_at(self, request: Request, row: int) -> None:
        """Who serves it in the end began when the first choice had failed, which nobody saw."""

    def prefilled(self, request: Request, row: int) -> None:
        asked, since = request.attributes.read(self._cost), request.attributes.read(self._sent)
        if asked is not None and since is not None:
            self.pace.computed(row, asked.at(row) + STEP, since=since, now=self.wiring.clock())
