"""The real vLLM engine as programs of their own: two replicas of a tiny model on the CPU, joined by NIXL."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import ROOT, Failed, Process, free_port, page
from endpoint_picker.parsing.legs import NIXL_PREFILL_PARAMS

PLACE: Final = "REAL_VLLM"
"""Names the folder with the engine in the environment."""
MODEL: Final = "tiny"
BLOCK: Final = 32
"""Tokens; on the CPU no smaller one will do."""
START_SECONDS: Final = 600.0
"""Two engines start in 75 s on two cores that nobody else uses."""
SETTLE_SECONDS: Final = 10.0
"""The engine's counters follow its answers."""
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Threads that spin while they wait make every token of two replicas on two cores cost a second.
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # The replicas fetch from each other over loopback.
    "UCX_TLS": "tcp,self",
    "UCX_NET_DEVICES": "lo",
    "VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.1",
}
HANDSHAKES: Final = 5
TRANSFER: Final = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cpu"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a replica has tokens of prompts from, by its own count."""

    computed: int = 0
    cached: int = 0
    transferred: int = 0
    external_hits: int = 0
    """Those that it expected to find elsewhere, before it looked."""


class Engine:
    """One replica, with a log in a folder."""

    def __init__(self, programs: Path, model: Path, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        environment = ENVIRONMENT | {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(free_port())}
        self.process = Process(
            (
                # Each has threads that spin by the dozen: Envoy and the picker would not be let run for
                # half a minute at a time, and lose their connection.
                *("nice", "-n", "19", "env"),
                *(f"{key}={value}" for key, value in environment.items()),
                *(str(programs / "vllm"), "serve", str(model)),
                f"--served-model-name={MODEL}",
                "--host=127.0.0.1",
                f"--port={self.port}",
                "--max-model-len=16384",
                "--dtype=float32",
                f"--block-size={BLOCK}",
                "--num-gpu-blocks-override=1024",
                "--enforce-eager",
                "--enable-prompt-tokens-details",
                f"--kv-transfer-config={json.dumps(TRANSFER)}",
            ),
            folder / f"{name}.log",
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def start(self) -> None:
        """Wait until it takes requests."""
        await self.process.until(self._ready, START_SECONDS)

    async def answered(self) -> int:
        """Requests that it has answered."""
        return (await self._counts())("request_success")

    async def sources(self) -> Sources:
        counted = await self._counts()
        return Sources(
            counted("prompt_tokens_by_source", source="local_compute"),
            counted("prompt_tokens_by_source", source="local_cache_hit"),
            counted("prompt_tokens_by_source", source="external_kv_transfer"),
            counted("external_prefix_cache_hits"),
        )

    async def _counts(self) -> Callable[..., int]:
        """Reads its counters as they are now: by name without `vllm:` and `_total`, and labels."""
        families = list(text_string_to_metric_families(await page(f"{self.url}/metrics")))

        def counted(counter: str, **labels: str) -> int:
            return sum(
                int(sample.value)
                for family in families
                for sample in family.samples
                if sample.name == f"vllm:{counter}_total" and labels.items() <= sample.labels.items()
            )

        return counted

    async def _ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as client, client.get(f"{self.url}/health") as response:
                return response.status == 200
        except (OSError, aiohttp.ClientError):
            return False


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
    programs = _programs()
    model = folder / MODEL
    maker = (str(programs / "python"), str(Path(__file__).with_name("model.py")), str(model))
    made = await asyncio.to_thread(subprocess.run, maker, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"{' '.join(maker)} failed:\n{made.stderr}")
    vocabulary = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = tuple(word for word in vocabulary if len(word) == 4 and word != "user")
    print(f"starting two engines, a minute or two; their logs: {folder}")
    prefill, decode = (Engine(programs, model, name, folder) for name in ("prefill", "decode"))
    pair = Pair(prefill, decode, words)
    try:
        await asyncio.gather(*(engine.start() for engine in pair.both))
        await _acquainted(pair)
        yield pair
    finally:
        for engine in pair.both:
            engine.process.stop()


async def _acquainted(pair: Pair) -> None:
    """Have them shake hands: the engine gives that 5 s, too little where both have just begun to run."""
    asked = {"model": MODEL, "prompt": " ".join(pair.words[: 2 * BLOCK]), "max_tokens": 1, "temperature": 0}
    async with aiohttp.ClientSession() as client:
        for _ in range(HANDSHAKES):
            params: object = json.loads(bytes(NIXL_PREFILL_PARAMS))
            for engine in pair.both:
                body = {**asked, "kv_transfer_params": params}
                async with client.post(f"{engine.url}/v1/completions", json=body) as response:
                    status, params = response.status, (await response.json()).get("kv_transfer_params")
            if status == 200:
                return
    raise Failed(f"the engines do not hand over a prompt in {HANDSHAKES} tries: see their logs")


def _programs() -> Path:
    """Where the engine's programs are. Raises Failed."""
    named = os.environ.get(PLACE, "")
    place = ROOT / (named or ".venv-vllm")
    for programs in (place / "bin", place / "venv" / "bin"):
        if (programs / "vllm").exists():
            return programs
    raise Failed(
        f"there is no vLLM engine in {place}: `make test-vllm` installs it into .venv-vllm; "
        f"{PLACE}=DIR names another virtual environment that has bin/vllm"
    )
