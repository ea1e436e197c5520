"""Prefill here, decode there: with the picker in charge of the prefill, and with our sidecar."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import pytest

from bench.processes import free_port
from tests.real.asking import Answer, Api, ask, body
from tests.real.engines import BLOCK, SETTLE_SECONDS, Engine, Pair, Sources, sources
from tests.real.gateways import DISAGGREGATED, Gateway, gateway, sidecar

Way = Literal["inline", "sidecar"]
WAYS: Final[tuple[Way, ...]] = ("inline", "sidecar")
TOKENS: Final = 10 * BLOCK + 7
"""Of a prompt: what does not fill a block is handed over, too."""


@asynccontextmanager
async def disaggregated(folder: Path, way: Way, engines: Pair, prefiller: str = "") -> AsyncIterator[Gateway]:
    """One replica computes prompts (or whoever is at this address), the other one decodes."""
    first = prefiller or engines.prefill.address
    async with AsyncExitStack() as scope:
        decoder = engines.decode.address
        if way == "sidecar":
            decoder = await scope.enter_async_context(sidecar(folder, engines.decode, [first]))
        config = DISAGGREGATED.replace("WAY", way)
        roles = [(first, "prefill"), (decoder, "decode")]
        yield await scope.enter_async_context(gateway(folder, config, roles))


async def alone(client: aiohttp.ClientSession, engine: Engine, api: Api, asked: dict[str, Any]) -> Answer:
    """What a single replica answers that computes all of it; its cache is closed to others."""
    return await ask(client, engine.url, api, {**asked, "cache_salt": "alone"})


async def risen(engine: Engine, before: Sources, tokens: int) -> Sources:
    """By how much the replica's counts rose, once they have risen by so many tokens in all."""
    for _ in range(int(SETTLE_SECONDS / 0.05)):
        after = await sources(engine)
        rise = Sources(*(new - old for new, old in zip(astuple(after), astuple(before), strict=True)))
        if rise.computed + rise.cached + rise.transferred >= tokens:
            break
        await asyncio.sleep(0.05)
    return rise


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_the_prompt_is_computed_by_one_replica_and_decoded_by_the_other(
    engines: Pair,
    client: aiohttp.ClientSession,
    prompt: Callable[[int], str],
    tmp_path: Path,
    api: Api,
    stream: bool,
    way: Way,
) -> None:
    asked = body(api, prompt(TOKENS), stream=stream)
    async with disaggregated(tmp_path, way, engines) as place:
        before = [await sources(engine) for engine in engines.both]
        answer = await ask(client, place.url, api, asked)
        assert answer.status == 200, answer.raw
        tokens = answer.prompt_tokens
        assert tokens >= TOKENS
        rises = [await risen(engine, old, tokens) for engine, old in zip(engines.both, before, strict=True)]
        print(f"{tokens} tokens; prefill: {rises[0]}; decode: {rises[1]}")
        assert rises[0] == Sources(computed=tokens, cached=0, transferred=0, external_hits=0)
        assert rises[1] == Sources(computed=0, cached=0, transferred=tokens, external_hits=tokens)
        assert answer.texts == (await alone(client, engines.decode, api, asked)).texts
        assert await place.in_flight() == 0


@pytest.mark.parametrize("way", WAYS)
async def test_only_what_the_decoding_replica_lacks_is_fetched(
    engines: Pair, client: aiohttp.ClientSession, prompt: Callable[[int], str], tmp_path: Path, way: Way
) -> None:
    start = prompt(4 * BLOCK)
    asked = body("completions", f"{start} {prompt(TOKENS)}")
    async with disaggregated(tmp_path, way, engines) as place:
        await ask(client, engines.decode.url, "completions", body("completions", start))
        before = await sources(engines.decode)
        answer = await ask(client, place.url, "completions", asked)
        rise = await risen(engines.decode, before, answer.prompt_tokens)
        assert (rise.computed, rise.cached, rise.transferred) == (0, 4 * BLOCK, TOKENS)
        assert answer.texts == (await alone(client, engines.decode, "completions", asked)).texts


@pytest.mark.parametrize("way", WAYS)
async def test_a_prefill_replica_that_is_gone_leaves_the_prompt_to_the_decoding_one(
    engines: Pair, client: aiohttp.ClientSession, prompt: Callable[[int], str], tmp_path: Path, way: Way
) -> None:
    asked = body("completions", prompt(TOKENS))
    async with disaggregated(tmp_path, way, engines, f"127.0.0.1:{free_port()}") as place:
        before = await sources(engines.decode)
        answer = await ask(client, place.url, "completions", asked)
        assert answer.status == 200, answer.raw
        rise = await risen(engines.decode, before, TOKENS)
        assert rise == Sources(computed=TOKENS, cached=0, transferred=0, external_hits=0)
        assert answer.texts == (await alone(client, engines.decode, "completions", asked)).texts


def several_answers(prompt: Callable[[int], str]) -> dict[str, Any]:
    return body("completions", prompt(TOKENS), n=2, temperature=0.9)


def several_prompts(prompt: Callable[[int], str]) -> dict[str, Any]:
    return body("completions", [prompt(TOKENS), prompt(TOKENS)])


def one_prompt_in_a_list(prompt: Callable[[int], str]) -> dict[str, Any]:
    return body("completions", [prompt(TOKENS)])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [several_answers, several_prompts, one_prompt_in_a_list])
async def test_what_an_engine_hands_over_for_one_prompt_is_used_for_no_other(
    engines: Pair,
    client: aiohttp.ClientSession,
    prompt: Callable[[int], str],
    tmp_path: Path,
    make: Callable[[Callable[[int], str]], dict[str, Any]],
    way: Way,
) -> None:
    asked = make(prompt)
    async with disaggregated(tmp_path, way, engines) as place:
        answer = await ask(client, place.url, "completions", asked)
        assert answer.status == 200, answer.raw
        assert answer.texts == (await alone(client, engines.decode, "completions", asked)).texts
