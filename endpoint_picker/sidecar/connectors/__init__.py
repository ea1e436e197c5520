"""How a prompt's cache gets from the engine that computes it to the engine that decodes.

One module for each manner of handing over; `prefills` is what they share: the leg itself, and what its
failure means; `pairs` runs two legs side by side, `pulls` names a third replica. A connector gets a held
request and answers with the client's response.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from aiohttp import web

from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors.mooncake import Mooncake
from endpoint_picker.sidecar.connectors.nixlv2 import Nixl
from endpoint_picker.sidecar.connectors.offloading import Offloading
from endpoint_picker.sidecar.connectors.prefills import Prefills
from endpoint_picker.sidecar.connectors.sglang import Sglang
from endpoint_picker.sidecar.connectors.shared_storage import SharedStorage
from endpoint_picker.sidecar.targets import Target


class Connector(Protocol):
    """One manner of handing over."""

    pulls: bool
    """Whether the engine can fetch a cached prefix from a third replica."""

    async def serve(self, call: Call, prefiller: Target, source: Target | None) -> web.StreamResponse:
        """Answer a held request whose prompt `prefiller` computes; `source` has a prefix of it cached."""


TABLE: Final[Mapping[str, Callable[[Prefills], Connector]]] = {
    "nixlv2": Nixl,
    "shared-storage": SharedStorage,
    "sglang": Sglang,
    "mooncake": Mooncake,
    "offloading": Offloading,
}
"""By the value of --kv-connector."""
