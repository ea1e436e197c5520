"""Envoy configurations for a measurement, made from the ones that are shipped in `envoy/`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import yaml

from bench.processes import ROOT

EXT_PROC: Final = "envoy.filters.http.ext_proc"
LISTENER, ADMIN, PICKER = 8081, 19000, 9002
"""Ports in the shipped files."""


def shipped(name: str) -> Any:
    """One of the shipped files, parsed."""
    return yaml.safe_load((ROOT / "envoy" / f"{name}.yaml").read_text())


def with_ports(config: Any, ports: dict[int, int]) -> Any:
    """The same configuration with other ports."""
    for socket in _mappings(config, lambda each: "port_value" in each):
        socket["port_value"] = ports.get(socket["port_value"], socket["port_value"])
    return config


def standalone(*, listener: int, admin: int, picker: int) -> str:
    """The shipped standalone configuration on these ports, as text."""
    ports = {LISTENER: listener, ADMIN: admin, PICKER: picker}
    return yaml.safe_dump(with_ports(shipped("standalone"), ports))


def round_robin(*, listener: int, admin: int, replicas: Sequence[int]) -> str:
    """The same Envoy without a picker: it takes the replicas in turn."""
    config = with_ports(shipped("standalone"), {LISTENER: listener, ADMIN: admin})
    for manager in _mappings(config, lambda each: "http_filters" in each):
        manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != EXT_PROC]
    resources = config["static_resources"]
    resources["clusters"] = [
        _in_turn(cluster, replicas)
        for cluster in resources["clusters"]
        if cluster.get("type") == "ORIGINAL_DST"
    ]
    return yaml.safe_dump(config)


def _in_turn(cluster: dict[str, Any], replicas: Sequence[int]) -> dict[str, Any]:
    """A cluster of the same name and limits that knows its members."""
    kept = {
        key: value for key, value in cluster.items() if key not in ("original_dst_lb_config", "lb_policy")
    }
    members = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in replicas
    ]
    assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": members}]}
    return kept | {"type": "STATIC", "lb_policy": "ROUND_ROBIN", "load_assignment": assignment}


def _mappings(node: Any, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """Every mapping in the tree that is wanted."""
    if isinstance(node, dict):
        if wanted(node):
            yield node
        for value in node.values():
            yield from _mappings(value, wanted)
    elif isinstance(node, list):
        for value in node:
            yield from _mappings(value, wanted)
