"""The real Envoy and our picker in front of the real engine, and our sidecar beside one."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import aiohttp

from bench.envoys import load, relocated
from bench.picker import Picker
from bench.processes import Process, free_port
from bench.vllm.gateway import KEEPALIVE, patient
from tests.fakes.stack import running
from tests.real.engines import Engine

Way = Literal["inline", "sidecar"]
ROLE: Final = "llm-d.ai/role"
ROUTING: Final = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: file-discovery, parameters: {path: ENDPOINTS}}
- {type: active-request-scorer}
- {type: prefix-cache-scorer}
- {type: max-score-picker}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: active-request-scorer}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: max-score-picker}
dataLayer:
  discovery: {pluginRef: file-discovery}
"""
DISAGGREGATED: Final = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: file-discovery, parameters: {path: ENDPOINTS}}
- type: disagg-profile-handler
  parameters:
    deciders: {prefill: always-disagg-pd-decider}
    disaggregation: WAY
- {type: always-disagg-pd-decider}
- {type: prefill-filter}
- {type: decode-filter}
- {type: queue-scorer}
- {type: max-score-picker}
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
dataLayer:
  discovery: {pluginRef: file-discovery}
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where clients send their requests, and the picker behind it."""

    url: str
    picker: Picker

    async def empty(self) -> bool:
        """Whether the picker's ledger gets empty in time."""
        for _ in range(100):
            if await self.picker.sum_of("llm_d_epp_inflight_requests") == 0:
                return True
            await asyncio.sleep(0.05)
        return False


@asynccontextmanager
async def gateway(folder: Path, config: str, roles: Sequence[tuple[str, str]]) -> AsyncIterator[Gateway]:
    """In front of endpoints: pairs of an address and a role, which may be empty."""
    file = folder / "endpoints.yaml"
    file.write_text(json.dumps({"endpoints": [_endpoint(*each) for each in roles]}), encoding="utf-8")
    told = f"--config-text={config.replace('ENDPOINTS', str(file))}"
    picker = Picker(folder, (), told, "--secure-serving=false", KEEPALIVE)
    places = [address for address, _ in roles]
    async with running(
        picker, folder, relocated(patient(load("standalone")), picker.grpc_port, places)
    ) as envoy:
        yield Gateway(f"http://127.0.0.1:{envoy.port}", picker)


@asynccontextmanager
async def disaggregated(folder: Path, way: Way, prefiller: str, engine: Engine) -> AsyncIterator[Gateway]:
    """Whoever is at the address of the prefiller computes prompts, the engine decodes."""
    async with AsyncExitStack() as scope:
        decoder = engine.address
        if way == "sidecar":
            decoder = await scope.enter_async_context(sidecar(folder, engine, [prefiller]))
        config = DISAGGREGATED.replace("WAY", way)
        roles = [(prefiller, "prefill"), (decoder, "decode")]
        yield await scope.enter_async_context(gateway(folder, config, roles))


@asynccontextmanager
async def sidecar(folder: Path, engine: Engine, prefillers: Sequence[str]) -> AsyncIterator[str]:
    """The proxy beside an engine, which may send prompts to these addresses; answers its own address."""
    port = free_port()
    command = (
        *(sys.executable, "-m", "endpoint_picker", "sidecar"),
        f"--port={port}",
        f"--model-server-port={engine.port}",
        "--secure-proxy=false",
        f"--allowed-prefillers={','.join(prefillers)}",
    )
    process = Process(command, folder / "sidecar.log")

    async def ready() -> bool:
        try:
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://127.0.0.1:{port}/health") as got,
            ):
                return got.status == 200
        except (OSError, aiohttp.ClientError):
            return False

    try:
        await process.until(ready)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()


def _endpoint(address: str, role: str) -> dict[str, object]:
    host, _, port = address.rpartition(":")
    return {
        "name": f"{role or 'replica'}-{port}",
        "address": host,
        "port": port,
        "labels": {ROLE: role} if role else {},
    }
