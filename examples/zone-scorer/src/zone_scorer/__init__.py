"""Prefers the replicas in the client's zone: what crosses zones takes longer, and often costs money."""

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin


class ZoneParameters(Parameters, frozen=True):
    """Where zones are written, and what another one is worth."""

    header: str = "x-zone"
    label: str = "topology.kubernetes.io/zone"
    elsewhere: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.elsewhere <= 1.0:
            raise ValueError(f"elsewhere is {self.elsewhere}; write a score from 0 to 1")


class Zone(Plugin):
    """`zone-scorer`: 1 for the replicas in the client's zone, `elsewhere` for the others."""

    type = "zone-scorer"
    schema = ZoneParameters
    parameters: ZoneParameters

    def score(self, request: Request, candidates: Candidates) -> Vector:
        zone, label = request.headers.get(self.parameters.header), self.parameters.label
        near = [zone is not None and endpoint.labels.get(label) == zone for endpoint in candidates]
        return np.where(near, 1.0, self.parameters.elsewhere)
