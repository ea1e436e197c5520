"""Simulated replicas and sidecars as programs of their own, which a test may kill."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp

from bench.picker import total
from bench.processes import Process, free_port, page

MODEL: Final = ("--model=tiny", "--block-size=16", "--num-blocks=4096", "--max-model-len=8192", "--seed=7")
SEEN_SECONDS: Final = 20.0


class Simulated:
    """One process of simulated replicas that hand prompts over; those of all processes say the same."""

    def __init__(self, folder: Path, name: str, *flags: str, replicas: int = 1) -> None:
        command = (sys.executable, "-m", "bench.simulator", "--port=0", "--kv-connector=nixl")
        whole = (*command, *MODEL, f"--replicas={replicas}", *flags)
        self.process = Process(whole, folder / f"{name}.log")
        self._replicas = replicas
        self.places: list[str] = []
        """`host:port` of each."""

    async def start(self) -> None:
        """Wait until all listen."""
        lines = await self.process.says("listening", self._replicas)
        self.places = [line.split()[1] for line in lines]

    @property
    def place(self) -> str:
        return self.places[0]

    def kill(self) -> None:
        self.process.kill()

    async def sample(self, family: str, index: int = 0) -> float:
        """Sum of a family on the metrics page of one replica."""
        return total(await page(f"http://{self.places[index]}/metrics"), f"vllm:{family}")

    async def shows(self, family: str, value: float) -> None:
        """Wait until the first replica's page shows a value."""
        async with asyncio.timeout(SEEN_SECONDS):
            while await self.sample(family) != value:
                await asyncio.sleep(0.01)

    async def works_on(self, requests: int) -> None:
        """Wait until the first replica has so many requests under way, also before the first step ends."""
        async with asyncio.timeout(SEEN_SECONDS):
            while json.loads(await page(f"http://{self.place}/load"))["server_load"] != requests:
                await asyncio.sleep(0.01)


class Beside:
    """A sidecar as a process, for the engine at `place`."""

    def __init__(self, folder: Path, place: str, *flags: str) -> None:
        self.place = f"127.0.0.1:{free_port()}"
        ports = (f"--port={_port(self.place)}", f"--model-server-port={_port(place)}")
        command = (sys.executable, "-m", "endpoint_picker", "sidecar", *ports, "--secure-proxy=false")
        whole = (*command, "--allowed-prefillers=127.0.0.1", *flags)
        self.process = Process(whole, folder / f"sidecar-{_port(self.place)}.log")

    async def start(self) -> None:
        await self.process.until(self._healthy)

    def kill(self) -> None:
        self.process.kill()

    async def _healthy(self) -> bool:
        try:
            await page(f"http://{self.place}/health")
        except (OSError, aiohttp.ClientError):
            return False
        return True


def _port(place: str) -> str:
    return place.rpartition(":")[2]


@contextmanager
def started(*programs: Simulated | Beside) -> Iterator[None]:
    """Programs, ready; killed at the end. Not to be used in a running loop."""

    async def start() -> None:
        await asyncio.gather(*(program.start() for program in programs))

    try:
        asyncio.run(start())
        yield
    finally:
        for program in programs:
            program.kill()
