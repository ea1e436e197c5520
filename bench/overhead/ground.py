"""What the measurements run on: replicas and load generator, and one side for each way through Envoy.

All sides stand beside each other, so that each measurement can be taken on one after the other within
seconds: what the machine does meanwhile then hits them alike.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench import envoys
from bench.overhead.load import Job, Outcome
from bench.picker import Picker
from bench.processes import Failed, Process

TRANSPORTS: Final = ("http2", "grpcio")
"""The first is the default of the picker, and the one that the budgets are for."""
WITHOUT: Final = "no ext_proc"
"""The side on which Envoy asks nobody and takes the replicas in turn."""
SEED: Final = 11
GRACE_SECONDS: Final = 30.0
"""For a job beside its own time: connections, the last answers, and a busy machine."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way from the client to the replicas."""

    name: str
    envoy: envoys.Envoy
    picker: Picker | None

    @property
    def watched(self) -> dict[str, int]:
        """Its processes."""
        pids = {"envoy": self.envoy.process.pid}
        return pids | ({"picker": self.picker_pid} if self.picker is not None else {})

    @property
    def picker_pid(self) -> int:
        if self.picker is None or self.picker.process is None:
            raise LookupError(f"{self.name} has no picker")
        return self.picker.process.pid


class Load:
    """The load generator as seen from here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def run(self, job: Job) -> Outcome:
        """Have a job done. Raises Failed when that does not work out."""
        self._writer.write(msgspec.json.encode(job) + b"\n")
        try:
            async with asyncio.timeout(job.warm_up + job.seconds + GRACE_SECONDS):
                line = await self._reader.readline()
        except TimeoutError:
            raise Failed(f"the load generator does not come back from {job}") from None
        if not line:
            raise Failed(f"the load generator broke off at {job}")
        return msgspec.json.decode(line, type=Outcome)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What all sides share."""

    replicas: tuple[str, ...]
    """Addresses (`ip:port`)."""
    pid: int
    """Of the one process that all replicas are."""
    load: Load


@contextlib.asynccontextmanager
async def fleet(folder: Path, count: int) -> AsyncIterator[Fleet]:
    """Replicas and load generator; ended at the end, whatever happened."""
    with contextlib.ExitStack() as programs:
        command = (sys.executable, "-m", "bench.overhead.replicas", "--count", str(count))
        replicas = Process(command, folder / "replicas.log")
        programs.callback(replicas.stop)
        load = Process((sys.executable, "-m", "bench.overhead.load"), folder / "load.log")
        programs.callback(load.stop)
        places = [line.split()[1] for line in await replicas.says("listening ", count)]
        host, _, port = (await load.says("listening ", 1))[0].split()[1].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        programs.callback(writer.close)
        yield Fleet(tuple(places), replicas.pid, Load(reader, writer))


@contextlib.asynccontextmanager
async def sides(folder: Path, names: Sequence[str], replicas: Sequence[str]) -> AsyncIterator[list[Side]]:
    """Envoy, with a picker of that transport where the name is one; ended at the end."""
    with contextlib.ExitStack() as programs:
        yield [await _side(folder / f"{name}-{len(replicas)}", name, replicas, programs) for name in names]


async def _side(folder: Path, name: str, replicas: Sequence[str], programs: contextlib.ExitStack) -> Side:
    _make(folder)
    picker = None
    config = envoys.round_robin(replicas)
    if name != WITHOUT:
        picker = picker_of(folder, name, replicas)
        programs.callback(picker.stop)
        await picker.start()
        config = envoys.relocated(envoys.load("standalone"), picker.grpc_port, replicas)
    envoy = envoys.Envoy(folder, config)
    programs.callback(envoy.process.stop)
    await envoy.start()
    return Side(name, envoy, picker)


def picker_of(folder: Path, transport: str, replicas: Sequence[str]) -> Picker:
    """A picker as users start it, default profile and all, with this transport."""
    return Picker(
        folder,
        replicas,
        "--secure-serving=false",
        "--drain-timeout=0",
        f"--seed={SEED}",
        f"--transport={transport}",
    )


async def seconds_to_start(folder: Path, transport: str, replicas: Sequence[str]) -> float:
    """From the spawn of a picker to "ready" on its health port."""
    _make(folder)
    picker = picker_of(folder, transport, replicas)
    started = time.perf_counter()
    try:
        await picker.start()
        return time.perf_counter() - started
    finally:
        picker.stop()


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
