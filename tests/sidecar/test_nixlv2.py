"""The default way of handing over: what is on the wire, and what a failure of the prefill does."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import vllm
from tests.fakes.replica import Received
from tests.fakes.vllm import HANDED
from tests.sidecar.conftest import Pod, Start

GOLDEN = Path(__file__).parents[3] / "shared/golden/vllm-0.32.0/nixl.json"
ONES = {"max_tokens": 1, "max_completion_tokens": 1, "min_tokens": 1}
NIXL = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}


async def test_both_legs_of_a_request_without_an_id_get_one(pod: Pod) -> None:
    async with pod.post({"model": "m", "prompt": "hi"}) as answer:
        assert answer.status == 200
    (prefill,), (decode,) = pod.prefill.received, pod.decode.received
    (request_id,) = prefill.values("x-request-id")
    assert decode.values("x-request-id") == [request_id]
    assert uuid.UUID(request_id).version == 1


async def test_the_prompt_is_computed_elsewhere_first(pod: Pod) -> None:
    asked = {"model": "m", "prompt": "hi", "max_tokens": 5, "min_tokens": 2, "stream": False, "x": {"y": 1}}
    async with pod.post(
        asked, "/v1/completions?a=%2F1", x_request_id="mine", authorization="Bearer k"
    ) as answer:
        assert answer.status == 200
        told = await answer.json()
    (prefill,), (decode,) = pod.prefill.received, pod.decode.received
    assert prefill.json == asked | ONES | {"stream": False, "kv_transfer_params": NIXL}
    assert decode.json == asked | {"kv_transfer_params": HANDED}
    assert prefill.path == decode.path == "/v1/completions?a=%2F1"
    assert prefill.values("authorization") == decode.values("authorization") == ["Bearer k"]
    assert prefill.values("x-request-id") == decode.values("x-request-id") == ["mine"]
    for leg in (prefill, decode):
        assert leg.values("x-prefiller-host-port") == []
        assert leg.values("x-forwarded-for") == ["127.0.0.1"]
        assert leg.values("content-length") == [str(len(leg.body))]
        assert leg.values("host") == [f"127.0.0.1:{pod.sidecar.ports[0]}"]
    assert told["id"] == "decode"
    assert pod.counted("prefills_total", connector="nixlv2", outcome="done", reason="") == 1
    assert pod.counted("prefill_seconds_count", connector="nixlv2") == 1


@pytest.mark.parametrize("fields", [{"prompt": ["a", "b"]}, {"prompt": "a", "n": 2}])
async def test_several_prompts_or_answers_are_decoded_plainly(pod: Pod, fields: dict[str, Any]) -> None:
    async with pod.post(asked := {"model": "m", **fields}) as answer:
        assert answer.status == 200
    assert pod.prefill.received == []
    (decode,) = pod.decode.received
    assert decode.json == asked


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recorded exchange is not here")
async def test_a_recorded_exchange_goes_through_as_it_was(pod: Pod) -> None:
    for exchange in json.loads(GOLDEN.read_text()):
        recorded = exchange["prefill_response"], exchange["decode_response"]

        async def prefill(request: web.Request, received: Received, whole: Any = recorded[0]) -> web.Response:
            return web.json_response(whole)

        async def decode(request: web.Request, received: Received, text: str = recorded[1]) -> web.Response:
            kind = "text/event-stream" if text.startswith("data:") else "application/json"
            return web.Response(text=text, content_type=kind)

        pod.prefill.reply, pod.decode.reply = prefill, decode
        asked = {k: v for k, v in exchange["decode_request"].items() if k != "kv_transfer_params"}
        async with pod.post(asked, exchange["path"]) as answer:
            assert answer.status == exchange["decode_status"]
            text = await answer.text()
        assert pod.prefill.bodies[-1] == exchange["prefill_request"] | ONES
        assert pod.decode.bodies[-1] == exchange["decode_request"]
        if not asked.get("stream"):
            assert json.loads(text) == json.loads(recorded[1])


async def test_clients_are_told_how_much_the_prefill_found_cached(pod: Pod) -> None:
    pod.prefill.cached, pod.decode.cached = 4, 700
    async with pod.post({"prompt": "p"}) as answer:
        assert (await answer.json())["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    async with pod.post({"prompt": "p", "stream": True}) as answer:
        events = (await answer.text()).split("\n\n")
    assert json.loads(events[3].removeprefix("data: "))["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 4
    }
    assert events[4:] == ["data: [DONE]", ""]


async def test_a_prefill_with_nothing_to_hand_over_is_decoded_plainly(pod: Pod) -> None:
    pod.prefill.handed = None
    body = b'{"prompt" :  "p", "seed": 1.50}'
    async with pod.post(body, x_request_id="mine") as answer:
        assert (await answer.json())["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert pod.decode.received[0].body == body
    assert pod.decode.received[0].values("x-request-id") == ["mine"]
    assert pod.counted("prefills_total", connector="nixlv2", outcome="empty", reason="") == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (vllm.status(500, "broken"), "status 500"),
        (vllm.status(429), "status 429"),
        (vllm.status(302, location="http://127.0.0.1:1/"), "status 302"),
        (vllm.status(200, "no json"), "answer"),
        (vllm.cut, "connection"),
        (vllm.hang, "timeout"),
    ],
)
async def test_a_prefill_that_fails_is_done_without(start: Start, reply: vllm.Reply, reason: str) -> None:
    pod = await start("--prefill-timeout=300ms")
    pod.prefill.reply = reply
    body = b'{"prompt": "p" , "max_tokens": 3}'
    async with pod.post(body) as answer:
        assert answer.status == 200
        assert (await answer.json())["id"] == "decode"
    assert pod.decode.received[0].body == body
    assert pod.counted("prefills_total", connector="nixlv2", outcome="fallback", reason=reason) == 1


async def test_a_prefill_that_is_gone_is_done_without(pod: Pod) -> None:
    await pod.prefill.stop()
    async with pod.post({"prompt": "p", "stream": True}) as answer:
        assert answer.status == 200
        assert (await answer.text()).endswith("data: [DONE]\n\n")
    assert pod.counted("prefills_total", connector="nixlv2", outcome="fallback", reason="connection") == 1


async def test_strictly_a_failed_prefill_is_the_answer(start: Start) -> None:
    pod = await start("--strict-prefill")
    pod.prefill.reply = vllm.status(418, "a teapot", x_teapot="yes")
    async with pod.post({"prompt": "p"}) as answer:
        assert (answer.status, await answer.text()) == (418, "a teapot")
        assert answer.headers["x-teapot"] == "yes"
    pod.prefill.reply = vllm.status(200, "no json")
    async with pod.post({"prompt": "p"}) as answer:
        assert answer.status == 400
        assert (await answer.json())["type"] == "BadRequestError"
    await pod.prefill.stop()
    async with pod.post({"prompt": "p"}) as answer:
        assert (answer.status, await answer.read()) == (502, b"")
    assert pod.decode.received == []
    assert pod.counted("prefills_total", connector="nixlv2", outcome="failed", reason="status 418") == 1


@pytest.mark.parametrize("code", [502, 503, 504])
async def test_what_may_pass_is_tried_again(start: Start, code: int) -> None:
    pod = await start("--prefill-max-retries=2", "--prefill-retry-backoff=1ms")
    replies = [vllm.status(code), vllm.cut, pod.prefill.complete]

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        return await replies.pop(0)(request, received)

    pod.prefill.reply = reply
    async with pod.post({"prompt": "p"}) as answer:
        assert answer.status == 200
    assert replies == []
    assert len({received.values("x-request-id")[0] for received in pod.prefill.received}) == 1
    assert pod.decode.bodies[0]["kv_transfer_params"] == HANDED


async def test_nothing_else_is_tried_again(start: Start) -> None:
    pod = await start("--prefill-max-retries=2", "--prefill-retry-backoff=1ms")
    pod.prefill.reply = vllm.status(500)
    async with pod.post({"prompt": "p"}) as answer:
        assert answer.status == 200
    assert len(pod.prefill.received) == 1


async def test_a_source_of_a_cached_prefix_is_told_to_the_prefill(start: Start) -> None:
    pod = await start("--enable-p2p-pull")
    async with pod.post({"prompt": "p"}, x_kv_cache_source_host_port="127.0.0.1:1") as answer:
        assert answer.status == 200
    params = pod.prefill.bodies[0]["kv_transfer_params"]
    source = params.pop("remote_kv_source")
    assert params == NIXL
    assert uuid.UUID(source.pop("kv_request_id")).version == 4
    assert source == {"remote_host": "127.0.0.1", "remote_port": 7777}
    async with pod.post({"prompt": "p"}, x_kv_cache_source_host_port=pod.prefill.address) as answer:
        assert answer.status == 200
    assert pod.prefill.bodies[1]["kv_transfer_params"] == NIXL


async def test_sampling_parameters_that_are_none_are_the_clients_fault(pod: Pod) -> None:
    async with pod.post({"token_ids": [1], "sampling_params": 3}, "/inference/v1/generate") as answer:
        assert answer.status == 400
        assert "sampling_params" in (await answer.json())["message"]
