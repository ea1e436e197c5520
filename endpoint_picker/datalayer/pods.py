"""Reads an entry of an endpoints file: a pod, and the endpoints that its data-parallel ranks are.

    {name, namespace, address, labels, and one of
     port: 8000                             one endpoint, named like the pod
     targetPorts: [8000, 8001]              one for each port, `<name>-rank-0`, `<name>-rank-1`
     activePorts: [8001]                    of these only some, under the same names
     dataParallel: {mode, size, startRank, ranks}}

Modes, as the engine has them. `external`: each port is an engine of its own. `internal`, `hybrid`: one port
with `size` ranks behind it, among which the engine chooses (`ranks: summed`: one endpoint) or we do (`ranks:
split`: an endpoint for each, all at that port). `startRank` is what the engines call the pod's first rank.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer import values
from endpoint_picker.datalayer.values import Place

ENTRY_KEYS: Final = (
    "name",
    "namespace",
    "address",
    "port",
    "targetPorts",
    "activePorts",
    "dataParallel",
    "labels",
)
PARALLEL_KEYS: Final = ("mode", "size", "startRank", "ranks")
EXTERNAL: Final = "external"
INTERNAL: Final = "internal"
MODES: Final = (EXTERNAL, INTERNAL, "hybrid")
SUMMED: Final = "summed"
SPLIT: Final = "split"
MOST_RANKS: Final = 256
"""Ranks of one pod: a page has room for the load of no more."""
HIGHEST_START: Final = 1 << 16


def read(entry: Any, where: str, place: Place) -> Sequence[Endpoint]:
    """The endpoints of an entry; `place` reads its address. Raises ConfigError."""
    fields = values.fields(entry, where, ENTRY_KEYS)
    pod = Endpoint(
        name=values.name(fields.get("name"), f"{where}.name"),
        namespace=values.name(fields.get("namespace", "default"), f"{where}.namespace"),
        address=place(fields.get("address"), f"{where}.address"),
        port=0,
        labels=values.labels(fields.get("labels"), f"{where}.labels"),
    )
    parallel = fields.get("dataParallel")
    if parallel is not None:
        return _parallel(pod, fields, where, values.fields(parallel, f"{where}.dataParallel", PARALLEL_KEYS))
    if "targetPorts" in fields:
        return _external(pod, fields, where, 0)
    return [replace(pod, port=_port(fields, where))]


def ranks(pod: Endpoint, ports: Sequence[int], *, start: int = 0) -> list[Endpoint]:
    """One for each port."""
    return [_rank(pod, rank, port, start, split=False) for rank, port in enumerate(ports)]


def _parallel(
    pod: Endpoint, fields: Mapping[str, Any], where: str, parallel: Mapping[str, Any]
) -> Sequence[Endpoint]:
    inside = f"{where}.dataParallel"
    mode = values.choice(parallel.get("mode", EXTERNAL), f"{inside}.mode", MODES)
    start = values.whole(parallel.get("startRank", 0), f"{inside}.startRank", 0, HIGHEST_START)
    if mode == EXTERNAL:
        _refuse(("size", "ranks"), parallel, inside, f"mode {mode} has a rank at each of targetPorts")
        return _external(pod, fields, where, start)
    _refuse(("targetPorts",), fields, where, f"the ranks of mode {mode} share one port; write port")
    if mode == INTERNAL:
        _refuse(("startRank",), parallel, inside, f"ranks of mode {mode} count from 0; is it mode hybrid?")
    port = _port(fields, where)
    split = values.choice(parallel.get("ranks", SUMMED), f"{inside}.ranks", (SUMMED, SPLIT)) == SPLIT
    if split or "size" in parallel:
        size = values.whole(parallel.get("size"), f"{inside}.size", 1, MOST_RANKS)
    if not split:
        return [replace(pod, port=port)]
    return [_rank(pod, rank, port, start, split=True) for rank in range(size)]


def _external(pod: Endpoint, fields: Mapping[str, Any], where: str, start: int) -> Sequence[Endpoint]:
    if "targetPorts" not in fields:
        ports = [_port(fields, where)]
    else:
        _refuse(("port",), fields, where, "targetPorts has the ports; remove one of the two")
        ports = _ports(fields["targetPorts"], f"{where}.targetPorts")
        if not 0 < len(ports) <= MOST_RANKS:
            raise ConfigError(f"{where}.targetPorts: write 1 to {MOST_RANKS} ports, not {len(ports)}")
    active = _active(fields.get("activePorts"), f"{where}.activePorts", ports)
    return [endpoint for endpoint in ranks(pod, ports, start=start) if endpoint.port in active]


def _port(fields: Mapping[str, Any], where: str) -> int:
    """The only port, where there are no ranks of which some may be inactive."""
    _refuse(("activePorts",), fields, where, "only some of targetPorts can be active")
    return values.port(fields.get("port"), f"{where}.port")


def _rank(pod: Endpoint, rank: int, port: int, start: int, *, split: bool) -> Endpoint:
    return Endpoint(
        name=f"{pod.name}-rank-{rank}",
        address=pod.address,
        port=port,
        namespace=pod.namespace,
        labels=pod.labels,
        pod=pod.name,
        rank=rank,
        start_rank=start,
        split=split,
    )


def _active(value: Any, where: str, ports: Sequence[int]) -> Iterable[int]:
    """A list, or the comma list that the annotation of a pod is; None: all."""
    if value is None:
        return ports
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    active = _ports(value, where)
    for number, port in enumerate(active):
        if port not in ports:
            raise ConfigError(f"{where}[{number}]: {port} is none of targetPorts; add it there or remove it")
    return active


def _ports(value: Any, where: str) -> list[int]:
    """Ports, each as itself or as `{number: PORT}`."""
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {values.shown(value)} is not a list; write one such as [8000, 8001]")
    ports: list[int] = []
    for number, item in enumerate(value):
        here = f"{where}[{number}]"
        if isinstance(item, dict):
            item, here = values.fields(item, here, ("number",)).get("number"), f"{here}.number"
        port = values.port(item, here)
        if port in ports:
            raise ConfigError(f"{here}: {port} is there twice; remove one")
        ports.append(port)
    return ports


def _refuse(keys: Sequence[str], fields: Mapping[str, Any], where: str, why: str) -> None:
    for key in keys:
        if key in fields:
            raise ConfigError(f"{where}.{key}: {why}")
