"""Says which labels tell where an endpoint runs; the distances follow from them (see `core.topology`)."""

from collections.abc import Sequence
from typing import Any

from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.core.topology import Topology, TopologyLabels, topology
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class TopologyParameters(Parameters, frozen=True):
    """Parameters of `topology-extractor`: a label for each level; empty: the usual one."""

    hostname: str = ""
    rack: str = ""
    zone: str = ""
    region: str = ""


class TopologyExtractor(Plugin):
    """`topology-extractor`: host, rack, zone and region of the endpoints. It needs no page of theirs."""

    type = "topology-extractor"
    stability = "alpha"
    schema = TopologyParameters

    def __init__(self, name: str, parameters: TopologyParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        usual = TopologyLabels()
        self._topology = Topology(
            TopologyLabels(
                hostname=parameters.hostname or usual.hostname,
                rack=parameters.rack or usual.rack,
                zone=parameters.zone or usual.zone,
                region=parameters.region or usual.region,
            )
        )

    def produces(self) -> Sequence[Key[Any]]:
        return (topology(self.name),)

    def produce(self, request: Request, candidates: Candidates) -> None:
        """The labels are the same for all requests, and so is what follows from them."""
        request.attributes.write(topology(self.name), self._topology)
