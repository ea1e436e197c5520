"""The ways of handing over beside the default one: what is on the wire, and what failures do."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from endpoint_picker.sidecar import sources
from endpoint_picker.sidecar.connectors import mooncake, pulls
from endpoint_picker.sidecar.targets import Target
from tests.fakes import vllm
from tests.fakes.engine import until
from tests.fakes.replica import Pace, Received
from tests.fakes.vllm import Vllm
from tests.sidecar.conftest import Pod, Start

ASKED = {"model": "m", "prompt": "p", "max_tokens": 9, "min_tokens": 4}


async def answered(pod: Pod, asked: Any = ASKED, path: str = "/v1/completions", **headers: str) -> Any:
    async with pod.post(asked, path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


# === sglang ===


async def test_both_engines_get_the_same_request_and_a_room(start: Start) -> None:
    pod = await start("--kv-connector=sglang", environment={"SGLANG_BOOTSTRAP_PORT": "9000"})
    earliest = time.time_ns()
    assert (await answered(pod, x_request_id="mine"))["id"] == "decode"
    (prefill,), (decode,) = pod.prefill.received, pod.decode.received
    assert prefill.body == decode.body
    body = prefill.json
    assert earliest <= body.pop("bootstrap_room") < time.time_ns() + 1000
    assert body == {**ASKED, "bootstrap_host": "127.0.0.1", "bootstrap_port": 9000}
    assert prefill.values("x-request-id") == decode.values("x-request-id") == ["mine"]


@pytest.mark.parametrize("strict", [False, True])
async def test_a_room_in_which_nobody_prefills_is_left(start: Start, strict: bool) -> None:
    pod = await start("--kv-connector=sglang", f"--strict-prefill={strict}")

    async def fails(request: web.Request, received: Received) -> web.StreamResponse:
        await pod.decode.arrived.wait()
        return web.Response(status=500, text="broken")

    pod.prefill.reply = fails
    pod.decode.reply = vllm.hang
    async with pod.post(ASKED) as answer:
        if strict:
            assert (answer.status, await answer.text()) == (500, "broken")
        else:
            assert answer.status == 502
            assert "answered 500" in (await answer.json())["message"]
    await until(lambda: pod.decode.left == 1)


# === side by side ===


@pytest.fixture(params=["sglang", "mooncake", "offloading"])
async def paired(request: pytest.FixtureRequest, start: Start) -> AsyncIterator[Pod]:
    async with Vllm() as server:
        server.reply = ranks({"0": "engine-0"})
        yield await start(f"--kv-connector={request.param}", f"--mooncake-bootstrap-port={server.port}")


def ranks(engines: dict[str, str]) -> vllm.Reply:
    """A bootstrap server that knows these."""

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        assert (received.method, received.path) == ("GET", "/query")
        return web.json_response(
            {rank: {"engine_id": id, "worker_addr": {"0": {}}} for rank, id in engines.items()}
        )

    return reply


async def test_both_legs_are_under_way_at_once(paired: Pod) -> None:
    paired.prefill.pace = Pace()
    task = asyncio.create_task(answered(paired))
    await paired.prefill.arrived.wait()
    await paired.decode.arrived.wait()
    assert not task.done()  # held until the prefill's verdict
    paired.prefill.pace.allow(1)
    assert (await task)["id"] == "decode"
    assert sum(len(engine.received) for engine in (paired.prefill, paired.decode)) == 2


async def test_a_decode_that_fails_first_is_the_answer(paired: Pod) -> None:
    paired.prefill.reply = vllm.hang
    paired.decode.reply = vllm.status(429, "busy")
    async with paired.post(ASKED) as answer:
        assert (answer.status, await answer.text()) == (429, "busy")
    await paired.decode.stop()
    async with paired.post(ASKED) as answer:
        assert answer.status == 503


async def test_a_client_that_leaves_takes_both_legs_with_it(paired: Pod) -> None:
    paired.prefill.reply = paired.decode.reply = vllm.hang
    task = asyncio.create_task(paired.post(ASKED)._coro)
    await paired.prefill.arrived.wait()
    await paired.decode.arrived.wait()
    task.cancel()
    await until(lambda: paired.prefill.left == paired.decode.left == 1)


# === mooncake ===


async def test_mooncake_serves_one_prompt_only(start: Start) -> None:
    async with Vllm() as server:
        server.reply = ranks({"0": "engine-0"})
        pod = await start("--kv-connector=mooncake", f"--mooncake-bootstrap-port={server.port}")
        await answered(pod, asked := {"model": "m", "prompt": ["a", "b"]})
    assert pod.prefill.received == server.received == []
    assert pod.decode.bodies == [asked]


async def test_the_decode_is_told_the_engine_of_the_prefill(start: Start) -> None:
    async with Vllm() as server:
        server.reply = ranks({"0": "engine-0", "1": "engine-1"})
        pod = await start(
            "--kv-connector=mooncake", environment={"MOONCAKE_BOOTSTRAP_PORT": str(server.port)}
        )
        seen = set()
        for _ in range(40):
            await answered(pod)
            prefill, decode = pod.prefill.received[-1], pod.decode.received[-1]
            (rank,) = prefill.values("x-data-parallel-rank")
            assert decode.values("x-data-parallel-rank") == []
            params = prefill.json["kv_transfer_params"]
            transfer = params["transfer_id"]
            assert uuid.UUID(transfer.removeprefix("xfer-")).version == 4
            assert params == {"do_remote_prefill": False, "do_remote_decode": True, "transfer_id": transfer}
            assert decode.json["kv_transfer_params"] == {
                "do_remote_prefill": True,
                "do_remote_decode": False,
                "transfer_id": transfer,
                "remote_bootstrap_addr": f"http://127.0.0.1:{server.port}",
                "remote_engine_id": f"engine-{rank}",
            }
            seen.add(rank)
        assert seen == {"0", "1"}
        assert len(server.received) == 1
    body = pod.prefill.bodies[0]
    body.pop("kv_transfer_params")
    assert body == {"model": "m", "prompt": "p", "stream": False, "max_tokens": 1, "min_tokens": 1}


async def test_engine_ids_are_asked_for_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Vllm() as server:
        server.reply = ranks({"0": "before"})
        pod = await start("--kv-connector=mooncake", f"--mooncake-bootstrap-port={server.port}")
        await answered(pod)
        # After a failure,
        pod.prefill.reply = vllm.status(500)
        await answered(pod)
        pod.prefill.reply = pod.prefill.complete
        server.reply = ranks({"0": "after"})
        await answered(pod)
        assert pod.decode.bodies[-1]["kv_transfer_params"]["remote_engine_id"] == "after"
        assert len(server.received) == 2
        # and after a while.
        monkeypatch.setattr(mooncake, "KNOWN_SECONDS", 0.0)
        pod.decode.reply = vllm.status(500)
        async with pod.post(ASKED) as answer:
            assert answer.status == 500
        pod.decode.reply = pod.decode.complete
        for _ in range(2):
            await answered(pod)
        assert len(server.received) == 4


@pytest.mark.parametrize("connector", ["mooncake", "offloading"])
async def test_sampling_parameters_that_are_none_reach_no_engine(start: Start, connector: str) -> None:
    async with Vllm() as server:
        server.reply = ranks({"0": "engine-0"})
        pod = await start(f"--kv-connector={connector}", f"--mooncake-bootstrap-port={server.port}")
        async with pod.post({"token_ids": [1], "sampling_params": 3}, "/inference/v1/generate") as answer:
            assert answer.status == 400
            assert "sampling_params" in (await answer.json())["message"]
    assert pod.prefill.received == pod.decode.received == []


@pytest.mark.parametrize(
    "reply", [vllm.status(500), vllm.status(200, "no"), vllm.status(200, "{}"), vllm.cut]
)
@pytest.mark.parametrize("strict", [False, True])
async def test_without_engine_ids_there_is_no_prefill(start: Start, reply: vllm.Reply, strict: bool) -> None:
    async with Vllm() as server:
        server.reply = reply
        flag = f"--mooncake-bootstrap-port={server.port}"
        pod = await start("--kv-connector=mooncake", flag, f"--strict-prefill={strict}")
        async with pod.post(ASKED) as answer:
            assert answer.status == (502 if strict else 200)
            if strict:
                assert (await answer.json())["type"] == "BadGateway"
    assert pod.prefill.received == []
    outcome = "failed" if strict else "fallback"
    assert pod.counted("prefills_total", connector="mooncake", outcome=outcome, reason="bootstrap") == 1


# === offloading ===


async def test_peers_are_told_of_each_other(start: Start) -> None:
    pod = await start("--kv-connector=offloading", environment={"P2P_CONNECTOR_PORT": "7000"})
    await answered(pod, x_kv_cache_source_host_port="127.0.0.1:9")
    prefill, decode = pod.prefill.bodies[0], pod.decode.bodies[0]
    meeting = prefill["kv_transfer_params"]["remote_decoder"]["kv_request_id"]
    source = prefill["kv_transfer_params"]["remote_kv_source"]
    assert source["kv_request_id"] != meeting
    assert source | {"kv_request_id": ""} == {
        "kv_request_id": "",
        "remote_host": "127.0.0.1",
        "remote_port": 7000,
    }
    del prefill["kv_transfer_params"]
    assert prefill == {"model": "m", "prompt": "p", "stream": False, "max_tokens": 1, "min_tokens": 1}
    remote = {"kv_request_id": meeting, "remote_host": "127.0.0.1", "remote_port": 7000}
    assert decode == {**ASKED, "kv_transfer_params": {"remote_prefiller": remote}}


def test_a_peer_is_known_by_its_rank() -> None:
    options = sources.read(["--port=8000", "--data-parallel-size=2"], {}).options
    ports = [pulls.peer(options, Target("h", port))["remote_port"] for port in (7999, 8000, 8001, 8002)]
    assert ports == [7777, 7777, 7778, 7777]


async def test_a_peer_that_fails_is_done_without(start: Start) -> None:
    pod = await start("--kv-connector=offloading")
    pod.prefill.reply = vllm.status(500)
    await answered(pod)
    assert pod.decode.bodies[-1] == ASKED
    assert pod.counted("prefills_total", connector="offloading", outcome="fallback", reason="status 500") == 1


# === shared storage ===


async def test_the_store_is_filled_first(start: Start) -> None:
    pod = await start("--kv-connector=shared-storage")
    asked = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    async with pod.post(asked) as answer:
        assert "[DONE]" in await answer.text()
    ones = {"max_tokens": 1, "max_completion_tokens": 1, "min_tokens": 1, "cache_hit_threshold": 0}
    assert pod.prefill.bodies == [asked | ones]
    assert pod.decode.bodies == [asked | {"cache_hit_threshold": 0}]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("enough", [False, True])
async def test_what_is_stored_already_is_decoded_at_once(start: Start, streaming: bool, enough: bool) -> None:
    pod = await start("--kv-connector=shared-storage")
    reason = "stop" if enough else "cache_threshold"

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        if received.json["cache_hit_threshold"] == 0:
            return await pod.decode.complete(request, received)
        document = {"choices": [{"text": "cache_threshold", "finish_reason": reason}]}
        if not streaming:
            return web.json_response(document)
        events = [
            {"choices": [{"text": "", "finish_reason": None}]},
            document,
            {"choices": [{"text": "more"}]},
        ]
        text = b"".join(map(vllm.event, events))
        return web.Response(body=text, content_type="text/event-stream")

    pod.decode.reply = reply
    asked = {**ASKED, "stream": streaming, "cache_hit_threshold": 0.8}
    async with pod.post(asked) as answer:
        assert answer.status == 200
        text = await answer.text()
    assert pod.decode.bodies[0] == asked
    if enough:
        assert pod.prefill.received == []
        assert "cache_threshold" in text
        assert ("more" in text) == streaming
    else:
        assert len(pod.prefill.received) == 1
        assert pod.decode.bodies[1] == asked | {"cache_hit_threshold": 0}
        assert "three" in text


async def test_an_error_of_the_first_try_is_passed_on(start: Start) -> None:
    pod = await start("--kv-connector=shared-storage")
    pod.decode.reply = vllm.status(400, "bad")
    async with pod.post({**ASKED, "cache_hit_threshold": 0.5}) as answer:
        assert (answer.status, await answer.text()) == (400, "bad")
    assert pod.prefill.received == []


async def test_a_store_that_is_not_filled_is_done_without(start: Start) -> None:
    pod = await start("--kv-connector=shared-storage")
    pod.prefill.reply = vllm.status(500)
    await answered(pod)
    assert pod.decode.bodies == [ASKED]
    pod.decode.received.clear()
    refusal = json.dumps({"choices": [{"finish_reason": "cache_threshold"}]})

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        if received.json["cache_hit_threshold"]:
            return web.Response(text=refusal, content_type="application/json")
        return await pod.decode.complete(request, received)

    pod.decode.reply = reply
    assert (await answered(pod, {**ASKED, "cache_hit_threshold": 0.5}))["id"] == "decode"
    assert [body["cache_hit_threshold"] for body in pod.decode.bodies] == [0.5, 0]
