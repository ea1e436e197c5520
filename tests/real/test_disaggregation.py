"""Prefill here, decode there: with the picker in charge of the prefill, and with our sidecar."""

import asyncio
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from bench.processes import free_port
from bench.vllm.engine import BLOCK
from tests.real.asking import Answer, Api, ask, body
from tests.real.engines import SETTLE_SECONDS, Engine, Pair, Sources
from tests.real.gateways import Gateway, Way, disaggregated

TOKENS: Final = 10 * BLOCK + 7
"""Of a prompt: what does not fill a block is handed over, too."""
STEP_SECONDS: Final = 0.05

Prompt = Callable[[int], str]


async def alone(client: aiohttp.ClientSession, engine: Engine, api: Api, asked: dict[str, Any]) -> Answer:
    """What a single replica answers that computes all of it: the salt keeps it from what is cached."""
    answer = await ask(client, engine.url, api, {**asked, "cache_salt": "alone"})
    assert answer.cached_tokens == 0
    return answer


async def risen(engine: Engine, before: Sources, tokens: int) -> Sources:
    """By how much the replica's counts rose, once it has counted so many tokens of prompts."""
    for _ in range(int(SETTLE_SECONDS / STEP_SECONDS)):
        after = await engine.sources()
        rise = Sources(*(new - old for new, old in zip(astuple(after), astuple(before), strict=True)))
        if rise.computed + rise.cached + rise.transferred >= tokens:
            break
        await asyncio.sleep(STEP_SECONDS)
    return rise


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_the_prompt_is_computed_by_one_replica_and_decoded_by_the_other(
    engines: Pair, place: Gateway, client: aiohttp.ClientSession, prompt: Prompt, api: Api, stream: bool
) -> None:
    asked = body(api, prompt(TOKENS), stream=stream)
    prefill, decode = [await engine.sources() for engine in engines.both]
    answer = await ask(client, place.url, api, asked)
    assert answer.status == 200, answer.raw
    tokens = answer.prompt_tokens
    assert tokens >= TOKENS
    decoding = await risen(engines.decode, decode, tokens)
    print(f"the decoding replica on a prompt of {tokens} tokens: {decoding}")
    assert decoding == Sources(computed=0, cached=0, transferred=tokens, external_hits=tokens)
    assert await risen(engines.prefill, prefill, tokens) == Sources(computed=tokens)
    assert answer.texts == (await alone(client, engines.decode, api, asked)).texts
    assert await place.empty()


async def test_only_what_the_decoding_replica_lacks_is_fetched(
    engines: Pair, place: Gateway, client: aiohttp.ClientSession, prompt: Prompt
) -> None:
    start = prompt(4 * BLOCK)
    asked = body("completions", f"{start} {prompt(TOKENS)}")
    await ask(client, engines.decode.url, "completions", body("completions", start))
    before = await engines.decode.sources()
    answer = await ask(client, place.url, "completions", asked)
    rise = await risen(engines.decode, before, answer.prompt_tokens)
    assert rise == Sources(cached=4 * BLOCK, transferred=TOKENS, external_hits=TOKENS)
    assert answer.texts == (await alone(client, engines.decode, "completions", asked)).texts


@pytest.mark.parametrize("way", ["inline", "sidecar"])
async def test_a_prefill_replica_that_is_gone_leaves_the_prompt_to_the_decoding_one(
    engines: Pair, client: aiohttp.ClientSession, prompt: Prompt, tmp_path: Path, way: Way
) -> None:
    asked = body("completions", prompt(TOKENS))
    async with disaggregated(tmp_path, way, f"127.0.0.1:{free_port()}", engines.decode) as place:
        before = await engines.decode.sources()
        answer = await ask(client, place.url, "completions", asked)
        assert answer.status == 200, answer.raw
        assert await risen(engines.decode, before, TOKENS) == Sources(computed=TOKENS)
        assert answer.texts == (await alone(client, engines.decode, "completions", asked)).texts
        assert await place.empty()


def several_answers(prompt: Prompt) -> dict[str, Any]:
    return body("completions", prompt(TOKENS), n=2, temperature=0.9)


def several_prompts(prompt: Prompt) -> dict[str, Any]:
    return body("completions", [prompt(TOKENS), prompt(TOKENS)])


def several_prompts_the_last_one_longer(prompt: Prompt) -> dict[str, Any]:
    return body("completions", [prompt(BLOCK), prompt(TOKENS)])


def one_prompt_in_a_list(prompt: Prompt) -> dict[str, Any]:
    return body("completions", [prompt(TOKENS)])


@pytest.mark.parametrize(
    "make",
    [several_answers, several_prompts, several_prompts_the_last_one_longer, one_prompt_in_a_list],
    ids=lambda make: make.__name__,
)
async def test_what_is_handed_over_for_one_prompt_is_used_for_no_other(
    engines: Pair,
    place: Gateway,
    client: aiohttp.ClientSession,
    prompt: Prompt,
    make: Callable[[Prompt], dict[str, Any]],
) -> None:
    asked = make(prompt)
    answer = await ask(client, place.url, "completions", asked)
    assert answer.status == 200, answer.raw
    single = await ask(client, engines.decode.url, "completions", {**asked, "cache_salt": "alone"})
    assert answer.texts == single.texts
