"""Simulated replicas: a prompt that is computed elsewhere gets the answer that one replica alone gives."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest

from tests.fakes.disagg import (
    ENVOYS,
    LONG,
    WAYS,
    Gateway,
    endpoint,
    gateway,
    session,
    staged,
)
from tests.fakes.fleet import Beside, Simulated, started
from tests.fakes.simulated import events

HITS: Final = "external_prefix_cache_hits_total"
SPEED: Final = ("--speed=20",)
PREFILL, DECODE, ALONE = range(3)
"""Replicas of the fleet; the last one stands apart and computes everything itself."""
SAYS: Final[Mapping[str, str]] = {
    "/v1/completions": "prompt",
    "/v1/chat/completions": "messages",
    "/v1/responses": "input",
    "/v1/messages": "messages",
}
"""Path → where the prompt is."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A replica that prefills, one that decodes with and without its sidecar, and one alone."""

    replicas: Simulated
    sidecar: Beside

    @property
    def alone(self) -> str:
        return f"http://{self.replicas.places[ALONE]}"

    async def behind(self, door: Gateway, way: str) -> str:
        """Have the gateway serve it in one of the ways; answers the gateway's address."""
        decode = self.sidecar.place if way == "sidecar" else self.replicas.places[DECODE]
        pool = [
            endpoint("computes", self.replicas.places[PREFILL], "prefill"),
            endpoint("decodes", decode, "decode"),
        ]
        await door.routes(staged(way), pool)
        return f"http://127.0.0.1:{door.envoys[ENVOYS[way]].port}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    replicas = Simulated(folder, "replicas", *SPEED, replicas=3)
    with started(replicas):
        sidecar = Beside(folder, replicas.places[DECODE])
        with started(sidecar):
            yield Fleet(replicas, sidecar)


@pytest.fixture(scope="module")
def door(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    places = [fleet.replicas.places[DECODE], fleet.replicas.places[ALONE]]
    folder = tmp_path_factory.mktemp("answers")
    with gateway(folder, ("standalone", "fallback"), places=places) as running:
        yield running


def asking(path: str, prompt: str, *, stream: bool, tokens: int = 12) -> dict[str, Any]:
    """A body for one of the APIs."""
    said: Any = [{"role": "user", "content": prompt}] if SAYS[path] == "messages" else prompt
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    body = {"model": "tiny", SAYS[path]: said, limit: tokens, "seed": 3}
    if not stream:
        return body
    # The others tell their usage unasked.
    options = {"stream_options": {"include_usage": True}} if "completions" in path else {}
    return body | {"stream": True} | options


async def told(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a client learns from an answer: its text, why it ended, and its usage."""
    async with client.post(url, json=body) as response:
        text = await response.text()
        assert response.status == 200, text
    documents = [json.loads(text)] if not body.get("stream") else events(text)
    learned: dict[str, Any] = {"text": "", "reason": None, "usage": None}
    for document in documents:
        if document != "[DONE]":
            _learn(learned, document)
    return learned


def _learn(learned: dict[str, Any], document: dict[str, Any]) -> None:
    kind = document.get("type", "")
    if kind == "content_block_delta":
        learned["text"] += document["delta"]["text"]
    elif kind in ("message", "message_delta"):
        learned["text"] += "".join(part["text"] for part in document.get("content", ()))
        learned["reason"] = document.get("delta", document)["stop_reason"]
    elif kind.startswith("response."):
        learned["text"] += document["delta"] if kind == "response.output_text.delta" else ""
        document = document.get("response") or {}
        document = {**document, "output": []}
    for item in document.get("output", ()):
        learned["text"] += "".join(part["text"] for part in item["content"])
    for choice in document.get("choices", ()):
        content = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        learned["text"] += content.get("content") or ""
        learned["reason"] = choice["finish_reason"] or learned["reason"]
    learned["reason"] = document.get("status") or learned["reason"]
    if usage := document.get("usage"):
        for details in usage.values():
            if isinstance(details, dict):
                # What one engine computed; the other one was handed it.
                details.pop("created_cache_tokens", None)
        learned["usage"] = usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", SAYS)
@pytest.mark.parametrize("way", WAYS)
async def test_the_answer_is_that_of_one_replica(
    fleet: Fleet, door: Gateway, way: str, path: str, stream: bool
) -> None:
    url = await fleet.behind(door, way)
    body = asking(path, f"{way} {path} {stream}: {LONG}", stream=stream)
    async with session() as client:
        before = await fleet.replicas.sample(HITS, DECODE)
        learned = await told(client, url + path, body)
        fetched = await fleet.replicas.sample(HITS, DECODE) - before
        assert learned == await told(client, fleet.alone + path, body)
    assert len(learned["text"]) == 12 * 4
    usage = learned["usage"]
    assert fetched == (usage.get("prompt_tokens") or usage["input_tokens"]) > 200


@pytest.mark.parametrize("way", WAYS)
async def test_many_at_once_get_each_their_own_answer(fleet: Fleet, door: Gateway, way: str) -> None:
    path = "/v1/completions"
    url = await fleet.behind(door, way)
    bodies = [asking(path, f"{way} {n}: {LONG}", stream=bool(n % 2)) for n in range(24)]
    async with session() as client, asyncio.TaskGroup() as group:
        before = await fleet.replicas.sample(HITS, DECODE)
        asked = [group.create_task(told(client, url + path, body)) for body in bodies]
        learned = [await each for each in asked]
        fetched = await fleet.replicas.sample(HITS, DECODE) - before
        assert learned == [await told(client, fleet.alone + path, body) for body in bodies]
    assert fetched == sum(each["usage"]["prompt_tokens"] for each in learned)
    for family in ("llm_d_epp_inflight_requests", "llm_d_epp_inflight_tokens"):
        async with asyncio.timeout(20):
            while await door.picker.sum_of(family):
                await asyncio.sleep(0.02)


async def test_a_conversation_goes_on_where_it_is_cached(fleet: Fleet, door: Gateway) -> None:
    """The second turn is decoded alone, and the client is told how much of it was cached."""
    path = "/v1/completions"
    await fleet.behind(door, "inline")
    pool = [
        endpoint("computes-too", fleet.replicas.places[PREFILL], "prefill"),
        endpoint("decodes-too", fleet.replicas.places[DECODE], "decode"),
    ]
    await door.routes(staged("inline", "prefix-based-pd-decider"), pool)
    url = f"http://127.0.0.1:{door.envoys['standalone'].port}"
    async with session() as client:
        first = asking(path, f"a talk: {LONG}", stream=False)
        said = (await told(client, url + path, first))["text"]
        before = await fleet.replicas.sample(HITS, DECODE)
        second = asking(path, f"{first['prompt']}{said} and then?", stream=False)
        learned = await told(client, url + path, second)
        assert await fleet.replicas.sample(HITS, DECODE) == before
    usage = learned["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"] - 32


async def test_over_the_other_transport_as_well(fleet: Fleet, other: Gateway) -> None:
    path = "/v1/completions"
    async with session() as client:
        for way in ("sidecar", "inline"):
            url = await fleet.behind(other, way)
            for stream in (False, True):
                body = asking(path, f"{way} {stream} by grpcio: {LONG}", stream=stream)
                before = await fleet.replicas.sample(HITS, DECODE)
                learned = await told(client, url + path, body)
                fetched = await fleet.replicas.sample(HITS, DECODE) - before
                assert learned == await told(client, fleet.alone + path, body)
                assert fetched == learned["usage"]["prompt_tokens"]


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("grpcio"), ("standalone",), "--transport=grpcio") as running:
        yield running


@pytest.mark.parametrize(
    "several", [{"n": 2}, {"prompt": [f"one {LONG}", f"two {LONG}"]}], ids=["n", "prompts"]
)
@pytest.mark.parametrize("way", WAYS)
async def test_what_cannot_be_split_is_decoded_alone(
    fleet: Fleet, door: Gateway, way: str, several: dict[str, Any]
) -> None:
    """What is handed over serves one answer to one prompt."""
    path = "/v1/completions"
    url = await fleet.behind(door, way)
    body = asking(path, f"{way} several: {LONG}", stream=False) | several
    async with session() as client:
        before = await fleet.replicas.sample(HITS, DECODE)
        learned = await told(client, url + path, body)
        assert await fleet.replicas.sample(HITS, DECODE) == before
        assert learned["text"] == (await told(client, fleet.alone + path, body))["text"]
    assert len(learned["text"]) == 2 * 12 * 4
