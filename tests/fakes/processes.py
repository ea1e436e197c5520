"""The real Envoy and the picker as processes of their own, started and ended by tests.

Each runs in a process group that is killed at the end, and keeps its output for failure messages. Envoy is
started from one of the files that users get; only addresses and ports differ.
"""

import asyncio
import copy
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import grpc
import yaml
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

ROOT: Final = Path(__file__).parents[2]
ENVOY: Final = ROOT / ".venv-tools" / "bin" / "envoy"
HEALTH: Final = "/grpc.health.v1.Health/Check"
START_SECONDS: Final = 30.0
"""Far more than a start takes; a busy machine must not fail a test."""
STOP_SECONDS: Final = 10.0
LAST_LINES: Final = 40

Config = dict[str, Any]
"""A bootstrap file of Envoy, as YAML has it."""


class Process:
    """A child in a group of its own; its output goes to a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        self._name = " ".join(command)
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
            )

    def output(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, if it still runs."""
        if self._child.poll() is None:
            os.killpg(self._child.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        self._child.wait(STOP_SECONDS)

    async def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        return await asyncio.to_thread(self._child.wait, STOP_SECONDS)

    async def until(self, ready: Callable[[], Any]) -> None:
        """Wait for a coroutine function to answer true; a process that ends before fails the test."""
        async with asyncio.timeout(START_SECONDS):
            while not await ready():
                assert self._child.poll() is None, f"{self._name} ended:\n{self.output()}"
                await asyncio.sleep(0.02)


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# === the picker ===


class Picker:
    """`python -m endpoint_picker`, on ports that stay the same when it is started again."""

    def __init__(self, folder: Path, endpoints: Sequence[str], *flags: str) -> None:
        self.grpc_port, self.health_port, self.metrics_port = free_port(), free_port(), free_port()
        self._log = folder / "picker.log"
        self._flags = (
            f"--endpoints={','.join(endpoints)}",
            f"--grpc-port={self.grpc_port}",
            f"--grpc-health-port={self.health_port}",
            f"--metrics-port={self.metrics_port}",
            *flags,
        )
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self.process = Process((sys.executable, "-m", "endpoint_picker", *self._flags), self._log)
        await self.process.until(self.ready)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def output(self) -> str:
        return self.process.output() if self.process is not None else ""

    async def sum_of(self, family: str, **labels: str) -> float:
        """Sum over all series of a gauge or counter with these labels; 0 where there is none."""
        page = await _get(f"http://127.0.0.1:{self.metrics_port}/metrics")
        samples = [
            sample
            for metric in text_string_to_metric_families(page)
            for sample in metric.samples
            if sample.name == family and labels.items() <= sample.labels.items()
        ]
        return float(sum(sample.value for sample in samples))

    async def ready(self) -> bool:
        """Whether its health port says that it takes requests."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.health_port}") as channel:
            check = channel.unary_unary(
                HEALTH,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = await check(health_pb2.HealthCheckRequest(service="readiness"), timeout=2.0)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


# === Envoy ===


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
    wanted = "envoy.filters.http.ext_proc"
    return cast("Config", next(entry["typed_config"] for entry in filters if entry["name"] == wanted))


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


def _address(place: str) -> Config:
    host, _, port = place.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _assign(cluster: Config, places: Sequence[str]) -> None:
    endpoints = [{"endpoint": {"address": _address(place)}} for place in places]
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]


class Envoy:
    """One Envoy with one worker thread, on ports that it chose itself."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        assert ENVOY.exists(), f"{ENVOY.relative_to(ROOT)} is missing: `make setup` installs the real Envoy"
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
        return await _get(f"http://{self._admin_file.read_text()}/{path}")

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
    return (str(ENVOY), "-c", str(file), "--admin-address-path", str(admin_file), *alone)


async def _get(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return await response.text()


@asynccontextmanager
async def running(picker: Picker, folder: Path, config: Config) -> AsyncIterator[Envoy]:
    """Both, ready; killed at the end, whatever happened."""
    envoy = Envoy(folder, config)
    try:
        await asyncio.gather(picker.start(), envoy.start())
        yield envoy
    finally:
        picker.kill()
        envoy.process.kill()
