"""What the filters and the scorer by session share: a session stays with the endpoint that served it.

The endpoint holds what the session has said so far in its cache, and perhaps state that no other has.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring
from endpoint_picker.scheduling.sessions import (
    Carried,
    Remembered,
    TableParameters,
    TokenParameters,
    Way,
    end_of,
)

log = logging.getLogger(__name__)


class AffinityParameters(Parameters, frozen=True):
    """How sessions are bound, and to the endpoint of which profile."""

    strategy: Literal["encoded_endpoint_header", "session_id"] = "encoded_endpoint_header"
    profile_name: str = ""
    """Empty: the primary profile."""
    encoded_endpoint_header_config: TokenParameters = TokenParameters()
    session_id_config: TableParameters = TableParameters()


class Affinity(Plugin):
    """Knows which endpoint a request's session is bound to."""

    stability = "alpha"
    schema = AffinityParameters

    def __init__(self, name: str, parameters: AffinityParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._profile = parameters.profile_name
        self._way: Way
        if parameters.strategy == "session_id":
            self._way = Remembered(parameters.session_id_config, wiring.clock)
        else:
            self._way = Carried(parameters.encoded_endpoint_header_config)
            if parameters.session_id_config != TableParameters():
                log.warning("%s: sessionIdConfig has no effect; write strategy: session_id for it", name)

    def requires(self) -> Sequence[Key[Any]]:
        # A fact without a producer is a header's, which is read before all producers run.
        return tuple(key for key in self._way.facts if key.producer)

    def adopt(self, old: Plugin) -> None:
        if not isinstance(old, Affinity) or old._profile != self._profile:
            return
        if isinstance(self._way, Remembered) and isinstance(old._way, Remembered):
            self._way.adopt(old._way)

    def where_bound(self, request: Request, candidates: Candidates) -> Mask | None:
        """The candidate that the session is bound to, shape (n,); None where there is none among them."""
        bound = self._way.bound(request)
        row = None if bound is None else candidates.table.row_of(bound)
        if row is None:
            return None
        mask: Mask = candidates.rows == row
        return mask if mask.any() else None

    def learn(self, request: Request, decision: Decision) -> None:
        result = end_of(decision, self._profile)
        if result is not None:
            self._way.learn(request, result, self.wiring.table)

    def learn_at(self, request: Request, row: int) -> None:
        """The primary profile's first choice could not be reached: the session is where it was served."""
        if not self._profile:
            self._way.move(request, self.wiring.table[row].id)

    def respond(self, request: Request, decision: Decision) -> Mapping[str, str]:
        result = end_of(decision, self._profile)
        return {} if result is None else self._way.tell(_served(result, request.served))


def _served(result: ProfileResult, host_port: str | None) -> str:
    """Id of the endpoint that served the request, if it was one of those; else of the first choice."""
    chosen = result.endpoints
    return next((each.id for each in chosen if each.host_port == host_port), chosen[0].id)
