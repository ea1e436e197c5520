"""The scorer that weighs everything in tokens to compute, so that nobody has to tune it to an engine."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Rows, Vector
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
        self._pace = Pace(wiring.table)

    def adopt(self, old: Plugin) -> None:
        if isinstance(old, PrefillWork):
            self._pace = old._pace

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
        prompt = asked.tokens if asked is not None else 0
        new = (asked.on(rows) if asked is not None else 0) + STEP
        others, pending = _others(candidates)
        requests = table.in_flight[rows] + others
        usual = _usual(table, rows)
        ahead = table.prefill_tokens[rows] + STEP * table.pending[rows] + pending * (usual + STEP)
        held = table.prompt_tokens[rows] + others * usual
        room = table.num_blocks[rows] * table.block_size[rows]
        # Of a prefix that several share there is one copy: only what is new takes room.
        taken = table.in_flight_tokens[rows] + others * usual + new
        over = np.where(room > 0, np.maximum(taken - room, 0.0), 0.0)
        # What waits on a slow endpoint is there for longer: W and n say so themselves.
        slow = self._pace.slowness(rows, candidates.now)
        total: Vector = ahead + new * (slow + NEW)
        total += READ * (held + requests * (prompt + STEP)) + OVERFLOWED * over
        return total

    def learn(self, request: Request, decision: Decision) -> None:
        request.attributes.write(self._sent, self.wiring.clock())

    def learn_at(self, request: Request, row: int) -> None:
        """Who serves it in the end began when the first choice had failed, which nobody saw."""

    def prefilled(self, request: Request, row: int) -> None:
        asked, since = request.attributes.read(self._cost), request.attributes.read(self._sent)
        if asked is not None and since is not None:
            self._pace.computed(row, asked.at(row) + STEP, since=since, now=self.wiring.clock())


def _others(candidates: Candidates) -> tuple[Vector, Vector]:
    """Requests of other pickers, and those of them that wait, shape (n,); 0 where no reading counts."""
    table, rows = candidates.table, candidates.rows
    others = table.others[rows]
    if not others[others.argmax()]:
        return others, others
    stale = table.stale(rows, candidates.now)
    if stale is not None:
        others[stale] = 0.0
    waiting = np.nan_to_num(table.waiting[rows])
    return others, np.minimum(others, np.maximum(0.0, waiting - table.pending[rows]))


def _usual(table: EndpointTable, rows: Rows) -> float:
    """Tokens of a prompt on average, of those in flight now."""
    requests = int(table.in_flight[rows].sum())
    return float(table.prompt_tokens[rows].sum()) / requests if requests else 0.0
