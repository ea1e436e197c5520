"""The scorer that prefers the endpoints near the one that another stage of the request was given."""

from typing import Final

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.peers import NearPeer

WORTH: Final = np.array([1.0, 0.20, 0.05, 0.02, 0.0])
"""Score by the closest level that is shared: host, rack, zone, region, none."""


class TopologyAffinity(NearPeer):
    """`topology-affinity-scorer`: same host 1, same rack 0.2, zone 0.05, region 0.02, else 0.

    0 for all where no peer is known.
    """

    type = "topology-affinity-scorer"
    stability = "alpha"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        distances = self.distances(request, candidates)
        if distances is None:
            return np.zeros(len(candidates))
        scores: Vector = WORTH[distances]
        return scores
