"""The scorer that likes a session to stay where it is."""

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.affinity import Affinity


class SessionAffinity(Affinity):
    """`session-affinity-scorer`: 1 for the endpoint that the session is bound to, else 0."""

    type = "session-affinity-scorer"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        bound = self.where_bound(request, candidates)
        return np.zeros(len(candidates)) if bound is None else bound.astype(np.float64)
