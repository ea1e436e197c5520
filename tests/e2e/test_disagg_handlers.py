"""The other handlers of stages: ranks behind a proxy's port, the profile that a header names, encoders."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from aiohttp import web

from tests.fakes.disagg import (
    LONG,
    WAYS,
    Document,
    Engine,
    Gateway,
    Scene,
    endpoint,
    gateway,
    profile,
    ranked,
    scene,
    staged,
)
from tests.fakes.replica import Pace, Received
from tests.fakes.vllm import Reply, status

CHAT: Final = "/v1/chat/completions"
RANK: Final = "x-data-parallel-host-port"
PREFILLER: Final = "x-prefiller-host-port"
ENCODERS: Final = "x-encoder-hosts-ports"
PICTURE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SHOWN: Final = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, PICTURE]}]
READ: Final = [{"role": "user", "content": "what is it?"}]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("handlers"), ("standalone", "fallback")) as started:
        yield started


# === ranks behind one port ===


@asynccontextmanager
async def two_ranks(door: Gateway, document: Document) -> AsyncIterator[tuple[Scene, list[Engine], int]]:
    """A pod of two ranks behind one sidecar, a prefill engine, and the sidecar's first port."""
    async with ranked(2) as (engines, first), scene(door, document=document, decode=0) as there:
        pod = endpoint("pod", f"127.0.0.1:{first}", "decode")
        del pod["port"]
        helper = endpoint("helper", there.prefill[0].address, "prefill")
        pool = [{**pod, "targetPorts": [first, first + 1]}, helper]
        for plugin in document["plugins"]:
            if "primaryPort" in plugin.get("parameters", {}):
                plugin["parameters"]["primaryPort"] = first
        await door.routes(document, pool)
        yield there, engines, first


async def ask_each(there: Scene, engines: list[Engine]) -> None:
    """Two requests at once, of which the second goes to the rank that is free."""
    paces = [Pace(), Pace()]
    for engine, pace in zip(engines, paces, strict=True):
        engine.pace = pace
    first = asyncio.create_task(there.ask(prompt=LONG))
    async with asyncio.timeout(20):
        while not any(engine.received for engine in engines):
            await asyncio.sleep(0.005)
    second = asyncio.create_task(there.ask(prompt=LONG))
    for engine in engines:
        await engine.asked()
    for pace in paces:
        pace.allow(1)
    assert [(await answer).status for answer in (first, second)] == [200, 200]


async def test_a_header_names_the_rank_behind_the_primary_port(door: Gateway) -> None:
    document = {
        "plugins": [
            {"type": "data-parallel-profile-handler", "parameters": {"primaryPort": 1}},
            {"type": "decode-filter"},
            {"type": "active-request-scorer"},
        ],
        "schedulingProfiles": [profile("default", "decode-filter", "active-request-scorer")],
    }
    async with two_ranks(door, document) as (there, engines, first):
        await ask_each(there, engines)
        for rank, engine in enumerate(engines):
            (received,) = engine.received
            assert received.values(RANK) == [f"127.0.0.1:{first + rank}"]
            assert received.values("x-gateway-destination-endpoint") == [f"127.0.0.1:{first}"]


async def test_the_older_handler_names_rank_and_prefill(door: Gateway) -> None:
    parameters = {"primaryPort": 1, "deciderPluginName": "always-disagg-pd-decider"}
    document = {
        "plugins": [
            {"type": "pd-profile-handler", "parameters": parameters},
            {"type": "always-disagg-pd-decider"},
            {"type": "decode-filter"},
            {"type": "prefill-filter"},
            {"type": "active-request-scorer"},
        ],
        "schedulingProfiles": [
            profile("decode", "decode-filter", "active-request-scorer"),
            profile("prefill", "prefill-filter"),
        ],
    }
    async with two_ranks(door, document) as (there, engines, first):
        await ask_each(there, engines)
        for rank, engine in enumerate(engines):
            (received,) = engine.received
            assert received.values(RANK) == [f"127.0.0.1:{first + rank}"]
            assert received.values(PREFILLER) == []
            assert received.json["kv_transfer_params"] == there.prefill[0].handed
        assert len(there.prefill[0].received) == 2
        assert await there.rise("llm_d_epp_pd_decision_total", decision_type="prefill-decode") == 2


# === a header names the profile ===


async def test_a_header_names_the_profile(door: Gateway) -> None:
    document = staged(decider="")
    document["plugins"][0] = {"type": "header-profile-handler"}
    async with scene(door, document=document) as there:
        answers = [
            await there.ask(headers=[("EPP-Profile", name)] if name else [])
            for name in ("prefill", "decode", "", "nobody")
        ]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert [answer.json["id"] for answer in answers[:3]] == ["prefill-0", "decode-0", "decode-0"]


# === only what is cached ===


async def test_who_wants_only_what_is_cached_gets_412_where_nothing_is(door: Gateway) -> None:
    wanted = [("prefer", "wait=10, If-Available;x=1")]
    async with scene(door, document=staged(decider="")) as there:
        refused = await there.ask(prompt=LONG, headers=wanted)
        assert refused.status == 412
        assert b"no decode worker has the requested KV cache" in refused.body
        assert there.decode[0].received == []
        assert (await there.ask(prompt=LONG)).status == 200
        assert (await there.ask(prompt=f"{LONG} and more", headers=wanted)).status == 200
        assert (await there.ask(prompt="another " * 80, headers=wanted)).status == 412
        other = [("prefer", "if-available-but-different")]
        assert (await there.ask(prompt="a third " * 80, headers=other)).status == 200


# === encoders ===


def encoding(way: str, most: int = 1) -> Document:
    """Pictures are encoded elsewhere, by so many at once, and prompts computed elsewhere."""
    deciders = {"prefill": "always-disagg-pd-decider", "encode": "always-disagg-multimodal-decider"}
    document = staged(way, deciders=deciders)
    picker = {"type": "max-score-picker", "name": "several", "parameters": {"maxNumOfEndpoints": most}}
    document["plugins"] += [picker, {"type": "max-score-picker"}]
    document["schedulingProfiles"][2] = profile("encode", "encode-filter", "several")
    return document


@pytest.mark.parametrize("way", WAYS)
async def test_pictures_have_encoders_and_text_has_none(door: Gateway, way: str) -> None:
    async with scene(door, way, document=encoding(way, 2), encode=2, flags=None) as there:
        forged = [(ENCODERS, "10.9.8.7:1")]
        for messages in (SHOWN, READ):
            assert (await there.ask(CHAT, prompt=None, messages=messages, headers=forged)).status == 200
        shown, read = there.decode[0].received
        (named,) = shown.values(ENCODERS)
        assert sorted(named.split(",")) == sorted(engine.address for engine in there.encode)
        assert read.values(ENCODERS) == []
        elsewhere = [there.prefill[0].address] if way == "sidecar" else []
        assert shown.values(PREFILLER) == read.values(PREFILLER) == elsewhere
        decisions = await there.decided("encode-prefill-decode"), await there.decided("prefill-decode")
        assert decisions == (1, 1)


async def test_nobody_who_encodes_costs_the_stage_alone(door: Gateway) -> None:
    async with scene(door, document=encoding("sidecar"), flags=None) as there:
        assert (await there.ask(CHAT, messages=SHOWN)).status == 200
        assert there.decode[0].received[0].values(ENCODERS) == []
        skipped = "llm_d_epp_disagg_stages_skipped_total"
        assert await there.rise(skipped, stage="encode", reason="no-endpoint") == 1
        assert await there.decided("prefill-decode") == 1


async def test_a_sidecar_has_pictures_encoded_before_the_prompt_is_computed(door: Gateway) -> None:
    """Two pictures, two encoders; what they hand over reaches both who prefills and who decodes."""
    other = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGg8="}}
    text = {"type": "text", "text": "which is older?"}
    messages = [{"role": "user", "content": [text, PICTURE, other]}]
    flags = ("--ec-connector=ec-nixl",)
    async with scene(door, document=encoding("sidecar", 2), encode=2, flags=flags) as there:
        for number, engine in enumerate(there.encode):
            engine.reply = hands_over(engine, {f"hash-{number}": {"peer_port": number}})
        answer = await there.ask(CHAT, messages=messages)
        assert (answer.status, answer.json["id"]) == (200, "decode-0")
        shown = [engine.bodies[0]["messages"][0]["content"] for engine in there.encode]
        assert sorted(shown, key=str) == sorted([[PICTURE], [other]], key=str)
        handed = {"hash-0": {"peer_port": 0}, "hash-1": {"peer_port": 1}}
        (prefill,), (decode,) = there.prefill[0].bodies, there.decode[0].bodies
        assert prefill["ec_transfer_params"] == decode["ec_transfer_params"] == handed
        assert decode["kv_transfer_params"] == there.prefill[0].handed
        assert prefill["messages"] == decode["messages"] == messages


async def test_an_encoder_that_fails_fails_the_request(door: Gateway) -> None:
    flags = ("--ec-connector=ec-nixl",)
    async with scene(door, document=encoding("sidecar"), encode=1, flags=flags) as there:
        there.encode[0].reply = status(500)
        answer = await there.ask(CHAT, messages=SHOWN)
        assert (answer.status, answer.json["type"]) == (502, "BadGateway")
        assert [engine.received for engine in (*there.prefill, *there.decode)] == [[], []]


def hands_over(engine: Engine, params: dict[str, Any]) -> Reply:
    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        return web.json_response(engine.document("e", ec_transfer_params=params))

    return reply
