"""What a client gets when a stage cannot be had: a right answer from who decodes, or a clear refusal."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest
from aiohttp import web

from tests.fakes.disagg import LONG, WAYS, Engine, Gateway, Scene, gateway, profile, scene, staged
from tests.fakes.replica import Received
from tests.fakes.stack import COMPLETIONS
from tests.fakes.vllm import Reply, cut, hang, status

ASKED: Final = {"model": "tiny", "prompt": LONG}
SKIPPED: Final = "llm_d_epp_disagg_stages_skipped_total"
REASON: Final = "x-llm-d-request-dropped-reason"
SHORT: Final = {"timeout": "400ms"}
"""For the picker's own prefills; those of sidecars have a flag."""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("fallbacks"), ("standalone", "fallback")) as started:
        yield started


async def decodes_alone(there: Scene) -> None:
    """The next request is answered right, by who decodes, from the client's own body."""
    answer = await there.ask(prompt=LONG)
    assert (answer.status, answer.json["id"]) == (200, "decode-0")
    assert answer.json["choices"][0]["text"] == "one two three "
    assert there.decode[0].bodies[-1] == ASKED


# === nobody has the role ===


@pytest.mark.parametrize("way", WAYS)
async def test_where_nobody_prefills_who_decodes_does_and_it_is_counted(door: Gateway, way: str) -> None:
    async with scene(door, way, roles={"prefill": "encode"}) as there:
        await decodes_alone(there)
        assert there.prefill[0].received == []
        assert await there.rise(SKIPPED, stage="prefill", reason="no-endpoint") == 1
        assert await there.decided("decode-only") == 1


async def test_where_nobody_decodes_the_pool_lacks_somebody(door: Gateway) -> None:
    async with scene(door, roles={"decode": "prefill"}) as there:
        answer = await there.ask(prompt=LONG)
        assert (answer.status, answer.values(REASON)) == (503, ["rejected-no-endpoints"])
        assert b"no endpoint has the labels" in answer.body
        assert [engine.received for engine in (*there.prefill, *there.decode)] == [[], []]


async def test_an_empty_pool_is_503(door: Gateway) -> None:
    async with scene(door, prefill=0, decode=0) as there:
        assert (await there.ask(prompt=LONG)).status == 503


async def test_where_a_filter_leaves_nobody_who_decodes_the_client_may_come_back(door: Gateway) -> None:
    document = staged()
    document["plugins"].append({"type": "header-based-testing-filter"})
    document["schedulingProfiles"][1] = profile("decode", "decode-filter", "header-based-testing-filter")
    async with scene(door, document=document) as there:
        assert (await there.ask(prompt=LONG)).status == 429
        (decode,) = there.sidecars
        chosen = [("test-epp-endpoint-selection", f"127.0.0.1:{decode.ports[0]}")]
        assert (await there.ask(prompt=LONG, headers=chosen)).status == 200


async def test_where_a_filter_leaves_nobody_who_prefills_that_is_counted(door: Gateway) -> None:
    document = staged()
    document["plugins"].append({"type": "header-based-testing-filter"})
    document["schedulingProfiles"][0] = profile("prefill", "prefill-filter", "header-based-testing-filter")
    async with scene(door, document=document) as there:
        await decodes_alone(there)
        assert await there.rise(SKIPPED, stage="prefill", reason="filtered-out") == 1


# === who has it fails ===


async def unconnected(request: web.Request, received: Received) -> web.StreamResponse:
    """An engine without a KV connector: it computes the prompt, and nobody can have it."""
    return web.json_response({"id": "p", "choices": [], "usage": {}, "kv_transfer_params": None})


async def half(request: web.Request, received: Received) -> web.StreamResponse:
    """Breaks off in the middle of its answer."""
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "500"})
    await response.prepare(request)
    await response.write(b'{"id":"p","kv_transfer_params":{"do_remote')
    assert request.transport is not None
    request.transport.abort()
    return response


async def babble(request: web.Request, received: Received) -> web.StreamResponse:
    """Answers something that is no JSON."""
    return web.Response(text="<html>", content_type="text/html")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (status(500), "failed"),
        (status(400), "refused"),
        (hang, "timeout"),
        (half, "failed"),
        (cut, "failed"),
        (babble, "failed"),
        (unconnected, "no_params"),
    ],
)
async def test_a_prefill_that_fails_costs_the_client_nothing(
    door: Gateway, way: str, reply: Reply, outcome: str
) -> None:
    async with scene(door, way, flags=("--prefill-timeout=400ms",), inline=SHORT) as there:
        there.prefill[0].reply = reply
        await decodes_alone(there)
        assert there.prefill[0].received
        assert len(there.decode[0].received) == 1
        assert await there.fallen_back(outcome) == 1

        there.prefill[0].reply = there.prefill[0].complete
        assert (await there.ask(prompt=LONG)).status == 200
        assert "kv_transfer_params" in there.decode[0].bodies[-1]


@pytest.mark.parametrize("way", WAYS)
async def test_where_all_who_prefill_are_gone_it_is_decoded_alone(door: Gateway, way: str) -> None:
    async with scene(door, way, prefill=2) as there:
        for engine in there.prefill:
            await engine.stop()
        for _ in range(4):
            await decodes_alone(there)


@pytest.mark.parametrize("way", ["inline", "buffered"])
async def test_where_the_first_choice_fails_the_second_computes(door: Gateway, way: str) -> None:
    async with scene(door, way, prefill=2) as there:
        first, second = there.prefill
        await there.queue(1, 40)
        first.reply = status(503)
        assert (await there.ask(prompt=LONG)).status == 200
        assert first.bodies == second.bodies
        assert "kv_transfer_params" in there.decode[0].bodies[0]
        assert await there.fallen_back("failed") == 0


async def test_a_strict_sidecar_passes_the_failure_on(door: Gateway) -> None:
    async with scene(door, flags=("--strict-prefill",)) as there:
        there.prefill[0].reply = status(500, "out of order")
        answer = await there.ask(prompt=LONG)
        assert (answer.status, answer.body) == (500, b"out of order")
        assert there.decode[0].received == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_leaves_takes_its_prefill_along(door: Gateway, way: str) -> None:
    async with scene(door, way) as there:
        (prefill,) = there.prefill
        prefill.reply = hang
        asking = asyncio.create_task(there.client.post(there.url(COMPLETIONS), json=ASKED))
        await prefill.asked()
        await there.settles(2, there.in_flight)
        assert await there.tokens() > 0
        asking.cancel()

        async def left() -> float:
            return prefill.left

        await there.settles(1, left)
        await there.settled()
        assert there.decode[0].received == []
        if way != "sidecar":
            assert await there.fallen_back("client_left") == 1


@pytest.mark.parametrize("way", ["inline", "buffered"])
async def test_who_is_busy_is_asked_no_more(door: Gateway, way: str) -> None:
    async with scene(door, way, inline={"maxConcurrentPerEndpoint": 1}) as there:
        (prefill,) = there.prefill
        free = asyncio.Event()
        prefill.reply = until(free, prefill)
        waiting = asyncio.create_task(there.ask(prompt=LONG))
        await prefill.asked()
        await decodes_alone(there)
        assert await there.fallen_back("busy") == 1
        free.set()
        assert (await waiting).status == 200
        assert len(prefill.received) == 1
        assert "kv_transfer_params" in there.decode[0].bodies[-1]


def until(free: asyncio.Event, engine: Engine) -> Reply:
    """Answers once it may."""

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        await free.wait()
        return await engine.complete(request, received)

    return reply


# === who decodes fails ===


@pytest.mark.parametrize(
    ("way", "fail", "told"),
    [
        ("sidecar", status(500, "no memory"), 500),
        ("inline", status(500, "no memory"), 500),
        ("buffered", status(500, "no memory"), 500),
        ("sidecar", cut, 502),
        ("inline", cut, 503),
        ("buffered", cut, 503),
    ],
)
async def test_who_decodes_fails_and_the_client_is_told(
    door: Gateway, way: str, fail: Reply, told: int
) -> None:
    async with scene(door, way) as there:
        (decode,) = there.decode
        decode.reply = fail
        assert (await there.ask(prompt=LONG)).status == told
        await there.settled()
        decode.reply = decode.complete
        assert (await there.ask(prompt=LONG)).status == 200
