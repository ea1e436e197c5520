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
from endpoint_picker.scheduling.turnover import Turnover

STEP: Final = 256.0
"""Tokens that could be computed in the time that a step takes before it computes any."""
READ: Final = 0.07
"""What the steps of each request read of the cache, in shares of computing as many tokens."""
OVERFLOWED: Final = 2.0
"""What a token costs for which another one has to leave the cache: it is computed again."""
NEW: Final = 5.0
"""A token that is computed anywhere is capacity taken from whoever comes next."""
PUSHED_OUT: Final = 10.0
"""What is new where a cache is overwritten once a minute pushes out what others would have come back to."""
RECENT: Final = 50.0
"""Requests over which the tokens of a prompt are averaged, for those of other pickers."""
LASTING: Final = 0.1
"""Seconds for which prices are used: they change little from one request to the next."""
_OTHERS: Final = slice(LOADS.index("others"), None)


class WorkParameters(Parameters, frozen=True):
    """Who tells what a request costs where, and who tells what of its prompt is cached."""

    in_flight_load_producer_name: str = INFLIGHT
    prefix_match_info_producer_name: str = APPROXIMATE
    """The one that the producer of the load reads."""


class PrefillWork(Plugin):
    """`prefill-work-scorer`: least work until the first token, for this request and for those that it delays.

    With u new tokens here (and 256 for the step), W the same of requests without a first token, n requests
    and C prompt tokens in flight, L tokens of this prompt, O new tokens in flight beyond the KV cache, and
    P new tokens of the last minute as a share of the cache, beyond the endpoint with the least:
    cost = W + u * (slow + 5 + 10 * P) + 0.07 * (C + n * (L + 256)) + 2 * O; score = least cost / cost.
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
        self._turnover = Turnover(wiring.table)
        self._prices, self._priced, self._version = np.empty(0), -np.inf, -1
        self._usual = 0.0
        """Tokens of a prompt, on average of late."""

    def adopt(self, old: Plugin) -> None:
        if isinstance(old, PrefillWork):
            self.pace, self._turnover, self._usual = old.pace, old._turnover, old._usual

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
        total += new * self._prices_at(candidates.now)[rows]
        taken += new - table.room[rows]
        if taken[taken.argmax()] > 0.0:
            total += OVERFLOWED * np.maximum(taken, 0.0)
        return total

    def _prices_at(self, now: float) -> Vector:
        """What one new token of a request costs on each endpoint, by table row."""
        table = self.wiring.table
        if not 0.0 <= now - self._priced < LASTING or self._version != table.version:
            turned = self._turnover.shares(table.live, now)
            self._prices = np.full(table.capacity, np.nan)
            # What waits on a slow endpoint is there for longer: W and n say so themselves.
            self._prices[table.live] = (
                self.pace.slowness(table.live, now) + NEW + PUSHED_OUT * (turned - turned.min())
            )
            self._priced, self._version = now, table.version
        return self._prices

    def _loads(self, candidates: Candidates) -> Vector:
        """The table's, shape (7, n); other pickers have sent nothing where no reading counts."""
        table, rows = candidates.table, candidates.rows
        loads: Vector = table.loads[:, rows]
        stale = table.stale(rows, candidates.now)
        if stale is not None:
            loads[_OTHERS, stale] = 0.0
        return loads

    def learn(self, request: Request, decision: Decision) -> None:
        now = self.wiring.clock()
        request.attributes.write(self._sent, now)
        asked = request.attributes.read(self._cost)
        if asked is None:
            return
        self._usual += (asked.tokens - self._usual) / RECENT
        self._turnover.computed(decision.row, asked.at(decision.row), now)
        if decision.prefill is not None:  # and what it computes goes to the other one's cache, too
            row = decision.prefill.rows[0]
            self._turnover.computed(row, asked.at(row), now)

    def learn_at(self, request: Request, row: int) -> None:
        """Who serves it in the end began when the first choice had failed, which nobody saw."""

    def prefilled(self, request: Request, row: int) -> None:
        asked, since = request.attributes.read(self._cost), request.attributes.read(self._sent)
        if asked is not None and since is not None:
            self.pace.computed(row, asked.at(row) + STEP, since=since, now=self.wiring.clock())
