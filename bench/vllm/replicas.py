"""Two real replicas for the whole measurement, as good as new before each run."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import aiohttp

from bench.processes import Failed
from bench.vllm.engine import BLOCK, Engine, ModelName, written

MODEL: Final[ModelName] = "wide"
COUNT: Final = 2
LONG_TOKENS: Final = 4000
MOST_TOKENS: Final = 8192
"""Of a request."""
ENVIRONMENT: Final = {
    # Has a route that empties the prefix cache.
    "VLLM_SERVER_DEV_MODE": "1",
    # The default of 5 s would close connections just when Envoy sends the next request on them.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600",
}


class Pair:
    """Both of them, ready, and the words that they know."""

    model: str = MODEL

    def __init__(self, engines: Sequence[Engine], words: Sequence[str]) -> None:
        self.words = words
        self.places = [engine.address for engine in engines]
        self._engines = engines
        self._rng = Random(0)

    async def renewed(self) -> float:
        """Empty their prefix caches; answers the seconds until the first token that LONG_TOKENS new ones took
        just before, on both at once, the slower one's. Raises Failed."""
        prompt = " ".join(self._rng.choices(self.words, k=LONG_TOKENS))
        begin = time.perf_counter()
        await self._post("/v1/completions", {"model": MODEL, "prompt": prompt, "max_tokens": 1})
        seconds = time.perf_counter() - begin
        await self._post("/reset_prefix_cache")
        return seconds

    async def _post(self, path: str, body: object = None) -> None:
        async with aiohttp.ClientSession() as client:

            async def one(engine: Engine) -> None:
                async with client.post(engine.url + path, json=body) as response:
                    if response.status != 200:
                        told = (await response.text())[:200]
                        raise Failed(f"{engine.name} answers {response.status} to POST {path}: {told}")

            await asyncio.gather(*map(one, self._engines))


@asynccontextmanager
async def running(folder: Path, cache_tokens: int) -> AsyncIterator[Pair]:
    """Both, each with room for so many tokens in its KV cache; logs and model go to the folder. Raises Failed
    with what is missing where there is no engine."""
    model = await written(MODEL, folder)
    flags = (
        f"--max-model-len={MOST_TOKENS}",
        f"--num-gpu-blocks-override={cache_tokens // BLOCK}",
        # Of prompts, in one step: whoever decodes waits for as long as they take.
        "--max-num-batched-tokens=1024",
    )
    engines = [Engine(model, f"replica-{number}", folder, flags, ENVIRONMENT) for number in range(COUNT)]
    try:
        await asyncio.gather(*(engine.start() for engine in engines))
        yield Pair(engines, model.words)
    finally:
        for engine in engines:
            engine.process.stop()
