"""The scorer that spreads the requests which nobody has cached.

A prompt that is new to all makes its replica compute, and keep, all of it. Sending each such prompt to the
replica that was given one longest ago lets the caches fill evenly.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Counts, Key
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Candidates, Rows, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.scheduling.scorers.prefix import APPROXIMATE

REMEMBERED: Final = 1024
WARM: Final = 0.5
"""What everybody gets where somebody holds the beginning of the prompt."""


class NoHitLruParameters(Parameters, frozen=True):
    lru_size: int = REMEMBERED
    """Endpoints that are remembered; 0 or less means the default."""
    prefix_match_info_producer_name: str = APPROXIMATE
    prefix_plugin_type: Any = None
    """Deprecated, without effect, as is the next one."""
    prefix_plugin_name: Any = None


class NoHitLru(Plugin):
    """`no-hit-lru-scorer`: of a prompt that nobody holds, whoever got such a one longest ago scores best.

    Those that never got one come first, by row; then the others, the oldest first. The i-th of n (from 0)
    gets 1 - i / (n - 1). Where one of the candidates holds a block of the prompt, all get 0.5.
    """

    type = "no-hit-lru-scorer"
    schema = NoHitLruParameters

    def __init__(self, name: str, parameters: NoHitLruParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._match = attributes.prefix_match(parameters.prefix_match_info_producer_name or APPROXIMATE)
        self._cold: Key[bool] = Key("ColdRequest", name)
        self._most = parameters.lru_size if parameters.lru_size > 0 else REMEMBERED
        self._now = 0
        """Number of the latest use."""
        self._uses: Counts = np.zeros(0, np.int64)
        """Number of each row's last use; 0: never used."""
        self._generations: Rows = np.zeros(0, np.int64)
        """The generation of each row at that time."""

    def adopt(self, old: Plugin) -> None:
        """The order of use goes on; of a longer list the newest stay."""
        if isinstance(old, NoHitLru):
            self._now, self._uses, self._generations = old._now, old._uses.copy(), old._generations.copy()
            self._forget()

    def requires(self) -> Sequence[Key[Any]]:
        return (self._match,)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        count = len(candidates)
        if not self._is_cold(request, candidates.rows):
            return np.full(count, WARM)
        if count < 2:
            return np.ones(count)
        self._fit()
        rows, ranks = candidates.rows, np.empty(count)
        same = self._generations[rows] == candidates.table.generation[rows]
        ranks[np.lexsort((rows, np.where(same, self._uses[rows], 0)))] = np.arange(count)
        return 1.0 - ranks / (count - 1)

    def learn(self, request: Request, decision: Decision) -> None:
        """Only where a request was cold, its target has been used; so has that of the prefill."""
        request.attributes.write(self._cold, self._is_cold(request, decision.primary.scored_rows))
        self._learn_from(request, decision.primary)
        if decision.prefill is not None:
            self._learn_from(request, decision.prefill)

    def learn_at(self, request: Request, row: int) -> None:
        """Another endpoint served the request: it has been used too."""
        if request.attributes.read(self._cold):
            self._use(row)

    def _is_cold(self, request: Request, rows: Rows) -> bool:
        """Whether none of these holds a block of the prompt."""
        match = request.attributes.read(self._match)
        return match is None or not match.blocks[rows[rows < len(match.blocks)]].any()

    def _learn_from(self, request: Request, result: ProfileResult) -> None:
        """Each profile by what its own candidates hold: these are the ones that were scored."""
        row, endpoint = result.rows[0], result.endpoints[0]
        still_there = self.wiring.table.row_of(endpoint.id) == row
        if still_there and self._is_cold(request, result.scored_rows):
            self._use(row)

    def _use(self, row: int) -> None:
        self._fit()
        self._now += 1
        self._uses[row] = self._now
        self._generations[row] = self.wiring.table.generation[row]
        self._forget()

    def _fit(self) -> None:
        """Have an entry for each row of the table."""
        missing = self.wiring.table.capacity - len(self._uses)
        if missing > 0:
            self._uses = np.pad(self._uses, (0, missing))
            self._generations = np.pad(self._generations, (0, missing))

    def _forget(self) -> None:
        """Drop whoever has left, then the least recently used ones beyond the limit."""
        known = len(self._uses)
        self._uses[self._generations != self.wiring.table.generation[:known]] = 0
        used = self._uses.nonzero()[0]
        if len(used) > self._most:
            self._uses[used[self._uses[used].argsort()[: -self._most]]] = 0
