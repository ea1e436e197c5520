"""The filter that keeps a request's stages close to each other."""

from typing import Literal

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.request import Request
from endpoint_picker.core.topology import LEVELS
from endpoint_picker.plugin import Wiring
from endpoint_picker.scheduling.peers import NearPeer, PeerParameters


class ClosenessParameters(PeerParameters, frozen=True):
    """How close is close enough."""

    min_affinity: Literal["host", "rack", "zone", "region"] = "host"


class TopologyAffinity(NearPeer):
    """`topology-affinity-filter`: keeps the endpoints at least as close to the peer as `minAffinity`.

    Everybody stays where no peer is known or nobody is that close: a preference must not refuse a request.
    """

    type = "topology-affinity-filter"
    stability = "alpha"
    schema = ClosenessParameters

    def __init__(self, name: str, parameters: ClosenessParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._widest = LEVELS.index(parameters.min_affinity)

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        distances = self.distances(request, candidates)
        if distances is None:
            return np.ones(len(candidates), np.bool_)
        close: Mask = distances <= self._widest
        return close if close.any() else np.ones(len(candidates), np.bool_)
