"""The scorer that prefers the endpoints which have encoded a request's pictures, films and sounds before."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

PRODUCER: Final = "mm-embeddings-cache-producer"


class MediaParameters(Parameters, frozen=True):
    producer_name: str = PRODUCER


class EncodedMedia(Plugin):
    """`mm-embeddings-cache-scorer`: matched size / size of all media; 0 where there are none."""

    type = "mm-embeddings-cache-scorer"
    schema = MediaParameters

    def __init__(self, name: str, parameters: MediaParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._match = attributes.encoder_match(parameters.producer_name or PRODUCER)

    def requires(self) -> Sequence[attributes.Key[Any]]:
        return (self._match,)

    def score(self, request: Request, candidates: Candidates) -> Vector:
        match = request.attributes.read(self._match)
        if match is None or match.total <= 0.0:
            return np.zeros(len(candidates))
        share: Vector = match.matched[candidates.rows] / match.total
        return share
