"""The ranks of the local engine: each has an engine port, and a listener of ours in front of it."""

from collections.abc import Sequence
from typing import Final

from endpoint_picker.sidecar import targets
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.targets import Target

LOCAL: Final = "localhost"


def engine(options: Options, rank: int) -> Target:
    """Where the engine of a rank listens."""
    return Target(LOCAL, options.model_server_port + rank)


class Ranks:
    """Finds the rank that the header `x-data-parallel-host-port` names: `POD_IP:port` of its listener."""

    def __init__(self, options: Options, ports: Sequence[int]) -> None:
        """`ports` are those of the listeners, by rank."""
        self._options = options
        self._ports = {port: rank for rank, port in enumerate(ports)}
        self._pod = targets.canonical(options.pod_ip)

    def named(self, text: str) -> Target | None:
        """The engine that is meant; None where it is none of ours. Without a pod address the port decides."""
        target = targets.read(text)
        if target is None or target.port not in self._ports or self._pod not in ("", None, target.host):
            return None
        return engine(self._options, self._ports[target.port])
