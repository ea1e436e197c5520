"""Two replicas of a tiny model on the real vLLM engine, joined by NIXL."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bench.processes import Failed, free_port
from bench.vllm import engine
from bench.vllm.engine import BLOCK, Model, counters, written
from endpoint_picker.parsing.legs import NIXL_PREFILL_PARAMS

MODEL: Final = "tiny"
SETTLE_SECONDS: Final = 10.0
"""The engine's counters follow its answers."""
HANDSHAKES: Final = 5
TRANSFER: Final = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cpu"}
FLAGS: Final = (
    "--max-model-len=16384",
    "--num-gpu-blocks-override=1024",
    f"--kv-transfer-config={json.dumps(TRANSFER)}",
)
ENVIRONMENT: Final = {
    # The replicas fetch from each other over loopback.
    "UCX_TLS": "tcp,self",
    "UCX_NET_DEVICES": "lo",
    "VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.1",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a replica has tokens of prompts from, by its own count."""

    computed: int = 0
    cached: int = 0
    transferred: int = 0
    external_hits: int = 0
    """Those that it expected to find elsewhere, before it looked."""


class Engine(engine.Engine):
    """A replica that can compute prompts for another one."""

    def __init__(self, model: Model, name: str, folder: Path) -> None:
        channel = {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(free_port())}
        super().__init__(model, name, folder, FLAGS, ENVIRONMENT | channel)

    async def answered(self) -> int:
        """Requests that it has answered."""
        return (await counters(self.address))("request_success")

    async def sources(self) -> Sources:
        counted = await counters(self.address)
        return Sources(
            counted("prompt_tokens_by_source", source="local_compute"),
            counted("prompt_tokens_by_source", source="local_cache_hit"),
            counted("prompt_tokens_by_source", source="external_kv_transfer"),
            counted("external_prefix_cache_hits"),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Both replicas; either can compute a prompt for the other."""

    prefill: Engine
    decode: Engine
    words: tuple[str, ...]
    """Of the model: each is one token."""

    @property
    def both(self) -> tuple[Engine, Engine]:
        return self.prefill, self.decode


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Pair]:
    """Both replicas, ready. Raises Failed with what is missing where there is no engine."""
    model = await written(MODEL, folder)
    print(f"starting two engines, a minute or two; their logs: {folder}")
    pair = Pair(Engine(model, "prefill", folder), Engine(model, "decode", folder), model.words)
    try:
        await asyncio.gather(*(each.start() for each in pair.both))
        await _acquainted(pair)
        yield pair
    finally:
        for each in pair.both:
            each.process.stop()


async def _acquainted(pair: Pair) -> None:
    """Have them shake hands: the engine gives that 5 s, too little where both have just begun to run."""
    asked = {"model": MODEL, "prompt": " ".join(pair.words[: 2 * BLOCK]), "max_tokens": 1, "temperature": 0}
    async with aiohttp.ClientSession() as client:
        for _ in range(HANDSHAKES):
            params: object = json.loads(bytes(NIXL_PREFILL_PARAMS))
            for each in pair.both:
                body = {**asked, "kv_transfer_params": params}
                async with client.post(f"{each.url}/v1/completions", json=body) as response:
                    status, params = response.status, (await response.json()).get("kv_transfer_params")
            if status == 200:
                return
    raise Failed(f"the engines do not hand over a prompt in {HANDSHAKES} tries: see their logs")
