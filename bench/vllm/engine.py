"""The real vLLM engine on the CPU as a program of its own, with a model that is written for it."""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import aiohttp

from bench.picker import total
from bench.processes import ROOT, Failed, Process, free_port, page

PLACE: Final = "REAL_VLLM"
"""Names the folder with the engine in the environment."""
BLOCK: Final = 32
"""Tokens; on the CPU no smaller one will do."""
START_SECONDS: Final = 600.0
"""Two engines start in 75 s on two cores that nobody else uses."""
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Threads that spin while they wait make every token of two replicas on two cores cost a second.
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
FLAGS: Final = (
    "--host=127.0.0.1",
    "--dtype=float32",
    f"--block-size={BLOCK}",
    "--enforce-eager",
    "--enable-prompt-tokens-details",
)

ModelName = Literal["tiny", "wide"]


@dataclass(frozen=True, slots=True)
class Model:
    """Files that an engine serves."""

    name: ModelName
    folder: Path
    words: tuple[str, ...]
    """Of its vocabulary: each is one token."""


async def written(name: ModelName, folder: Path) -> Model:
    """Write a model into a folder of its name there. Raises Failed."""
    place = folder / name
    maker = (str(programs() / "python"), str(Path(__file__).with_name("model.py")), str(place), name)
    made = await asyncio.to_thread(subprocess.run, maker, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"{' '.join(maker)} failed:\n{made.stderr}")
    vocabulary = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return Model(name, place, tuple(word for word in vocabulary if len(word) == 4 and word != "user"))


class Engine:
    """One replica, with a log in a folder."""

    def __init__(
        self, model: Model, name: str, folder: Path, flags: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = free_port()
        self.process = Process(
            (
                # Each has threads that spin by the dozen: Envoy and the picker would not be let run for
                # half a minute at a time, and lose their connection.
                *("nice", "-n", "19", "env"),
                *(f"{key}={value}" for key, value in {**ENVIRONMENT, **environment}.items()),
                *(str(programs() / "vllm"), "serve", str(model.folder)),
                *(f"--served-model-name={model.name}", f"--port={self.port}", *FLAGS, *flags),
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

    async def _ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as client, client.get(f"{self.url}/health") as response:
                return response.status == 200
        except (OSError, aiohttp.ClientError):
            return False


class Counters:
    """A replica's counters, as they were when its page was read."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, name: str, **labels: str) -> int:
        """One of them, by its name without `vllm:` and `_total`, over all series with these labels."""
        return round(total(self._text, f"vllm:{name}_total", **labels))


async def counters(address: str) -> Counters:
    """Of the replica at `ip:port`."""
    return Counters(await page(f"http://{address}/metrics"))


def programs() -> Path:
    """Where the engine's programs are. Raises Failed."""
    named = os.environ.get(PLACE, "")
    place = ROOT / (named or ".venv-vllm")
    for folder in (place / "bin", place / "venv" / "bin"):
        if (folder / "vllm").exists():
            return folder
    raise Failed(
        f"there is no vLLM engine in {place}: `make test-vllm` or `make bench-vllm` installs it into "
        f".venv-vllm; {PLACE}=DIR names another virtual environment that has bin/vllm"
    )
