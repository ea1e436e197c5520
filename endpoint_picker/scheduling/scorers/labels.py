"""The scorer by which a request's header names the endpoints that it likes."""

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.labels import numbered
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class HeaderLabelParameters(Parameters, frozen=True):
    """What is compared with what."""

    header_name: str
    label_key: str

    def __post_init__(self) -> None:
        if not self.header_name:
            raise ValueError("headerName is empty; name the request header to look at")
        if not self.label_key:
            raise ValueError("labelKey is empty; name the endpoints' label to compare it with")


class HeaderLabelAffinity(Plugin):
    """`header-label-affinity-scorer`: 1 where the label is what the request's header says, else 0."""

    type = "header-label-affinity-scorer"
    stability = "alpha"
    schema = HeaderLabelParameters

    def __init__(self, name: str, parameters: HeaderLabelParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._header = parameters.header_name.lower()
        self._values = numbered(parameters.label_key)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        values = self._values.of(candidates.table)
        wanted = values.number(request.headers.get(self._header, ""))
        return np.equal(values.rows[candidates.rows], wanted).astype(np.float64)
