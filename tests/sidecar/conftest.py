"""A sidecar on real ports, between a fake prefill replica and a fake local engine."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from yarl import URL

from endpoint_picker.sidecar import sources
from endpoint_picker.sidecar.server import Sidecar
from tests.fakes.vllm import Vllm

PREFILLER = "x-prefiller-host-port"


@dataclass
class Pod:
    """One sidecar, what it talks to, and a client."""

    sidecar: Sidecar
    prefill: Vllm
    decode: Vllm
    client: aiohttp.ClientSession

    def url(self, path: str, rank: int = 0) -> str:
        return f"http://127.0.0.1:{self.sidecar.ports[rank]}{path}"

    def post(
        self,
        body: Any,
        path: str = "/v1/completions",
        *,
        prefiller: str | None = "",
        rank: int = 0,
        headers: Mapping[str, str] = {},
        **more: str,
    ) -> aiohttp.client._RequestContextManager:
        """Post a body; `prefiller`: empty is the fake one, None is none. `more` headers have underscores."""
        fields = {name.replace("_", "-"): value for name, value in {**headers, **more}.items()}
        if prefiller is not None:
            fields[PREFILLER] = prefiller or self.prefill.address
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(self.url(path, rank), encoded=True)
        return self.client.post(url, headers={"Content-Type": "application/json"} | fields, data=data)

    def counted(self, name: str, **labels: str) -> float:
        return self.sidecar._counts.registry.get_sample_value(f"endpoint_picker_sidecar_{name}", labels) or 0


Start = Callable[..., Awaitable[Pod]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a pod with these flags; everything is closed at the end."""
    async with AsyncExitStack() as stack:

        async def started(*flags: str, environment: dict[str, str] | None = None) -> Pod:
            prefill = await stack.enter_async_context(Vllm("prefill"))
            decode = await stack.enter_async_context(Vllm("decode"))
            given = (
                "--port=0",
                "--secure-proxy=false",
                f"--model-server-port={decode.port}",
                "--allowed-prefillers=127.0.0.1",
                *flags,
            )
            sidecar = Sidecar(sources.read(given, environment or {}).options)
            stack.push_async_callback(sidecar.stop)
            await sidecar.start()
            client = await stack.enter_async_context(aiohttp.ClientSession())
            return Pod(sidecar, prefill, decode, client)

        yield started


@pytest.fixture
async def pod(start: Start) -> Pod:
    """A pod with the default connector."""
    return await start()
