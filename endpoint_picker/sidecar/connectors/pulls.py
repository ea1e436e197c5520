"""Fetching a cached prefix from a third replica: what an engine is told of it."""

import uuid
from typing import Any, Final

from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.targets import Target

SOURCE: Final = "remote_kv_source"


def source(options: Options, replica: Target) -> dict[str, Any]:
    """The transfer parameter that names a replica whose cache has a prefix of the prompt."""
    return {SOURCE: {"kv_request_id": str(uuid.uuid4()), **peer(options, replica)}}


def peer(options: Options, replica: Target) -> dict[str, Any]:
    """Host and port at which the engine of a replica hands out blocks.

    The replica is known by its sidecar's port, which tells the rank; a port out of range means rank 0.
    """
    rank = replica.port - options.port
    port = options.p2p_connector_port + (rank if 0 <= rank < options.data_parallel_size else 0)
    return {"remote_host": replica.host, "remote_port": port}
