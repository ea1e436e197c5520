"""Filters that keep a session where it is."""

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.affinity import Affinity


class SessionAffinity(Affinity):
    """`session-affinity-filter`: keeps only the endpoint that the session is bound to.

    Everybody stays where the session is bound to none, or to one that is no candidate.
    """

    type = "session-affinity-filter"

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        bound = self.where_bound(request, candidates)
        return np.ones(len(candidates), np.bool_) if bound is None else bound


class MulticlusterSessionAffinity(SessionAffinity):
    """`multicluster-session-affinity-filter`: as `session-affinity-filter`, where endpoints are clusters."""

    type = "multicluster-session-affinity-filter"
