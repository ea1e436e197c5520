"""Simulated replicas for tests: fast, small, on a free port, with a client for them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from bench.simulator.config import EngineConfig, ReplicaConfig, TransferConfig
from bench.simulator.running import running

SMALL = ReplicaConfig(
    engine=EngineConfig(block_size=32, num_blocks=256), model="tiny", max_model_len=4096, speed=100.0
)

CONNECTED = replace(SMALL, transfer=TransferConfig(port=0, lease_s=6000.0))
"""Replicas that fetch from each other; a lease lasts for a minute of the wall clock."""
PREFILL: dict[str, Any] = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    **dict.fromkeys(("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")),
}
"""The `kv_transfer_params` of a prefill leg."""


@dataclass(frozen=True, slots=True)
class Client:
    """Requests to one replica."""

    session: aiohttp.ClientSession
    url: str

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and decoded JSON."""
        async with self.session.post(self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        async with self.session.get(self.url + path) as response:
            return response.status, await response.text()

    async def stream(self, path: str, body: Any) -> list[Any]:
        """The events' data of a stream in order, decoded; its `[DONE]` as that string."""
        async with self.session.post(self.url + path, json=body) as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            return events(await response.text())

    async def samples(self) -> dict[str, float]:
        """The page of /metrics: series as printed → value."""
        _, page = await self.get("/metrics")
        lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
        return {series: float(value) for series, _, value in lines}

    async def sample(self, name: str) -> float:
        """The only series of a family that has just the labels of the replica."""
        return (await self.samples())[f'{name}{{engine="0",model_name="tiny"}}']


def events(text: str) -> list[Any]:
    """Decoded data of server-sent events."""
    found: list[Any] = []
    for block in text.split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                found.append(data if data == "[DONE]" else json.loads(data))
    return found


@asynccontextmanager
async def replica(config: ReplicaConfig = SMALL) -> AsyncIterator[Client]:
    """One running replica and a client for it."""
    async with running([config]) as ports, aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{ports[0]}")


@asynccontextmanager
async def replicas(*configs: ReplicaConfig) -> AsyncIterator[list[Client]]:
    """Several running replicas and a client for each."""
    async with running(configs) as ports, aiohttp.ClientSession() as session:
        yield [Client(session, f"http://127.0.0.1:{port}") for port in ports]


async def prefill(client: Client, path: str, body: Any, **headers: str) -> tuple[Any, dict[str, Any]]:
    """The prefill leg of a request: the answer, and the body of its decode leg."""
    first = body | {"max_tokens": 1, "stream": False, "kv_transfer_params": PREFILL}
    first.pop("stream_options", None)
    status, answer = await client.post(path, first, **headers)
    assert status == 200, answer
    return answer, body | {"kv_transfer_params": answer["kv_transfer_params"]}
