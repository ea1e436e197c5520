"""The real Envoy as a program of its own, started from the files that users get in `envoy/`."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import yaml

from bench.processes import ROOT, Failed, Process, page

BINARY: Final = ROOT / ".venv-tools" / "bin" / "envoy"
EXT_PROC: Final = "envoy.filters.http.ext_proc"

Config = dict[str, Any]
"""A bootstrap file of Envoy, as YAML has it."""


# === configurations ===


def load(name: str) -> Config:
    """One of the shipped files, by its name without the ending."""
    return cast("Config", yaml.safe_load((ROOT / "envoy" / f"{name}.yaml").read_text(encoding="utf-8")))


def cluster(config: Config, name: str) -> Config:
    """The part of a file about one cluster."""
    clusters = config["static_resources"]["clusters"]
    return cast("Config", next(entry for entry in clusters if entry["name"] == name))


def connection_manager(config: Config) -> Config:
    listener = config["static_resources"]["listeners"][0]
    return cast("Config", listener["filter_chains"][0]["filters"][0]["typed_config"])


def ext_proc(config: Config) -> Config:
    """The part of a file about the filter that asks the picker."""
    filters = connection_manager(config)["http_filters"]
    return cast("Config", next(entry["typed_config"] for entry in filters if entry["name"] == EXT_PROC))


def relocated(config: Config, picker_port: int, replicas: Sequence[str]) -> Config:
    """The same file for this machine's free ports, the picker there, and these replicas (`ip:port`)."""
    moved = copy.deepcopy(config)
    listener = moved["static_resources"]["listeners"][0]
    listener["address"] = _address("127.0.0.1:0")
    moved["admin"]["address"] = _address("127.0.0.1:0")
    _assign(cluster(moved, "ext_proc"), [f"127.0.0.1:{picker_port}"])
    if "load_assignment" in cluster(moved, "replicas"):
        _assign(cluster(moved, "replicas"), replicas)
    return moved


def round_robin(replicas: Sequence[str]) -> Config:
    """The standalone file without the picker: its Envoy takes the replicas (`ip:port`) in turn."""
    config = relocated(load("standalone"), 0, replicas)
    filters = connection_manager(config)["http_filters"]
    filters[:] = [entry for entry in filters if entry["name"] != EXT_PROC]
    members = cluster(config, "replicas")
    del members["original_dst_lb_config"]
    members |= {"type": "STATIC", "lb_policy": "ROUND_ROBIN"}
    members["load_assignment"] = {"cluster_name": "replicas"}
    _assign(members, replicas)
    return config


def _address(place: str) -> Config:
    host, _, port = place.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _assign(cluster: Config, places: Sequence[str]) -> None:
    endpoints = [{"endpoint": {"address": _address(place)}} for place in places]
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]


# === the program ===


class Envoy:
    """One Envoy with one worker thread, on ports that it chose itself."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        if not BINARY.exists():
            raise Failed(f"{BINARY.relative_to(ROOT)} is missing: `make setup` installs the real Envoy")
        file = folder / "envoy.yaml"
        file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        self._admin_file = folder / "envoy-admin.txt"
        self.port = 0
        self.process = Process(_command(file, self._admin_file), folder / "envoy.log")

    async def start(self) -> None:
        """Wait until it takes requests."""
        await self.process.until(self._ready)
        listeners = yaml.safe_load(await self.admin("listeners?format=json"))["listener_statuses"]
        self.port = listeners[0]["local_address"]["socket_address"]["port_value"]

    async def admin(self, path: str) -> str:
        """A page of its admin port."""
        return await page(f"http://{self._admin_file.read_text()}/{path}")

    async def counter(self, name: str) -> int:
        """One of its statistics; 0 where it has not been touched."""
        lines = (await self.admin(f"stats?filter=^{name.replace('.', '%5C.')}$")).splitlines()
        return int(lines[0].rpartition(" ")[2]) if lines else 0

    async def _ready(self) -> bool:
        try:
            return await self.admin("ready") == "LIVE\n"
        except (OSError, aiohttp.ClientError):
            return False


def _command(file: Path, admin_file: Path) -> tuple[str, ...]:
    # Without hot restart, Envoys beside each other share nothing and need no ids.
    alone = ("--disable-hot-restart", "--concurrency", "1", "-l", "warning")
    return (str(BINARY), "-c", str(file), "--admin-address-path", str(admin_file), *alone)
