"""What the filter and the scorer by topology share: how far each candidate is from its peer.

The peer is the endpoint that an earlier stage of the same request was given; the handler of the profiles
writes it down.
"""

from collections.abc import Sequence
from typing import Any

from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import Candidates, Rows
from endpoint_picker.core.request import Request
from endpoint_picker.core.topology import EXTRACTOR, Topology, topology
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class PeerParameters(Parameters, frozen=True):
    """Who says which labels count."""

    topology_producer_name: str = ""
    """Empty: the extractor of the default name, or the usual labels where there is none."""


class NearPeer(Plugin):
    """Knows the distances from the peer."""

    schema = PeerParameters

    def __init__(self, name: str, parameters: Any, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        producer = parameters.topology_producer_name or EXTRACTOR
        self._topology = topology(producer)
        self._usual = Topology() if producer == EXTRACTOR else None
        self._peer = attributes.peer()

    def reads(self) -> Sequence[attributes.Key[Any]]:
        return (self._topology,)

    def distances(self, request: Request, candidates: Candidates) -> Rows | None:
        """Index in `topology.LEVELS` for each candidate, shape (n,); None where no peer is known."""
        peer = request.attributes.read(self._peer)
        places = request.attributes.read(self._topology) or self._usual
        if peer is None or places is None:
            return None
        return places.distances(candidates.table, peer, candidates.rows)
