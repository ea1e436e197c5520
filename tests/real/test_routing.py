"""Without disaggregation: a conversation stays with the replica that has computed its beginning."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench.vllm.engine import BLOCK
from tests.real.asking import ask, body
from tests.real.engines import Engine, Pair
from tests.real.gateways import ROUTING, gateway

CONVERSATIONS = 6
"""Picked by chance, all of them would stay where they are once in 64 runs."""


async def test_a_conversation_goes_on_where_it_began(
    engines: Pair, client: aiohttp.ClientSession, prompt: Callable[[int], str], tmp_path: Path
) -> None:
    begun: list[tuple[Engine, int, list[dict[str, Any]]]] = []
    async with gateway(tmp_path, ROUTING, [(engine.address, "") for engine in engines.both]) as place:
        for _ in range(CONVERSATIONS):
            messages = [{"role": "user", "content": prompt(10 * BLOCK)}]
            answer, engine = await served(client, place.url, engines, messages)
            assert answer.cached_tokens == 0
            messages.append({"role": "assistant", "content": answer.text})
            begun.append((engine, answer.prompt_tokens, messages))
        for first, tokens, messages in begun:
            messages.append({"role": "user", "content": prompt(BLOCK)})
            answer, second = await served(client, place.url, engines, messages)
            assert second.name == first.name
            # Whole blocks of what was there, which may include some of the first answer.
            assert tokens // BLOCK <= answer.cached_tokens // BLOCK <= answer.prompt_tokens // BLOCK
            print(f"{first.name}: {answer.cached_tokens} of {answer.prompt_tokens} tokens were cached")


async def served(
    client: aiohttp.ClientSession, url: str, engines: Pair, messages: list[dict[str, Any]]
) -> tuple[Any, Engine]:
    """The answer, and the replica that says that it has answered one request more."""
    before = [await engine.answered() for engine in engines.both]
    answer = await ask(client, url, "chat", body("chat", "", messages=messages))
    assert answer.status == 200, answer.raw
    for _ in range(500):
        after = [await engine.answered() for engine in engines.both]
        if sum(after) > sum(before):
            break
        await asyncio.sleep(0.02)
    (engine,) = (each for each, old, new in zip(engines.both, before, after, strict=True) if new > old)
    return answer, engine
