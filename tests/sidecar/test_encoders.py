"""Media go to encoders first."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.parsing import legs
from endpoint_picker.sidecar import encoders
from tests.fakes import vllm
from tests.fakes.engine import until
from tests.fakes.replica import Received
from tests.fakes.vllm import Vllm
from tests.sidecar.conftest import Pod, Start

CHAT = "/v1/chat/completions"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
ASKED = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 50,
    "min_tokens": 9,
    "messages": [
        {"role": "system", "content": "look"},
        {"role": "user", "content": [{"type": "text", "text": "at"}, image("http://a"), AUDIO]},
        {"role": "user", "content": [image("http://b"), image("http://a"), AUDIO]},
    ],
}


async def reply(request: web.Request, received: Received) -> web.StreamResponse:
    item = json.loads(received.body)["messages"][0]["content"][0]
    key = item.get("image_url", {}).get("url", "audio")
    return web.json_response({"ec_transfer_params": {key: {"peer_port": 1}}})


@pytest.mark.parametrize("prefiller", ["", None])
@pytest.mark.parametrize("connector", ["ec-nixl", "ec-example"])
async def test_each_item_goes_to_an_encoder(start: Start, prefiller: str | None, connector: str) -> None:
    pod = await start(f"--ec-connector={connector}")
    async with Vllm() as one, Vllm() as two:
        one.reply = two.reply = reply
        named = f"{one.address}, 10.0.0.1:1, {two.address}"
        async with pod.post(ASKED, CHAT, prefiller=prefiller, x_encoder_hosts_ports=named) as answer:
            assert answer.status == 200
            assert "[DONE]" in await answer.text()
    sent = one.received + two.received
    assert (len(one.received), len(two.received)) == (2, 2)
    contents = [received.json["messages"] for received in sent]
    assert all(messages == [{"role": "user", "content": messages[0]["content"]}] for messages in contents)
    for item in (image("http://a"), image("http://b"), AUDIO, AUDIO):
        contents.remove([{"role": "user", "content": [item]}])
    rest = sent[0].json
    del rest["messages"]
    ones = {"max_tokens": 1, "max_completion_tokens": 1, "min_tokens": 1}
    assert rest == {"model": "m", "stream": False, **ones}
    assert all(received.path == CHAT for received in sent)
    ids = sorted(received.values("x-request-id")[0] for received in sent)
    assert [id[-6:] for id in ids] == ["-enc-0", "-enc-1", "-enc-2", "-enc-3"]
    names = {name for received in sent for name, _ in received.headers}
    assert names == {"host", "content-type", "x-request-id", "content-length"}
    told = {"http://a": {"peer_port": 1}, "http://b": {"peer_port": 1}, "audio": {"peer_port": 1}}
    for leg in (pod.decode.received[0], *pod.prefill.received):
        assert leg.json["cache_hit_threshold"] == 0
        assert leg.json.get("ec_transfer_params") == (told if connector == "ec-nixl" else None)
        assert leg.json["messages"] == ASKED["messages"]
        assert leg.values("x-encoder-hosts-ports") == []
        assert leg.values("x-request-id") == [ids[0][:-6]]
    assert len(pod.prefill.received) == (0 if prefiller is None else 1)
    assert pod.counted("encodes_total", connector=connector, outcome="done") == 1
    assert pod.counted("refused_targets_total", header="x-encoder-hosts-ports") == 1


@pytest.mark.parametrize("bad", [vllm.status(500), vllm.cut])
async def test_one_that_fails_fails_the_request_and_ends_the_others(start: Start, bad: vllm.Reply) -> None:
    pod = await start("--ec-connector=ec-nixl")
    async with Vllm() as one, Vllm() as two:
        one.reply = vllm.hang

        async def fails(request: web.Request, received: Received) -> web.StreamResponse:
            await one.arrived.wait()
            return await bad(request, received)

        two.reply = fails
        async with pod.post(ASKED, CHAT, x_encoder_hosts_ports=f"{one.address},{two.address}") as answer:
            assert answer.status == 502
            assert "encode node" in (await answer.json())["message"]
        await until(lambda: one.left == 2)
    assert pod.prefill.received == pod.decode.received == []
    assert pod.counted("encodes_total", connector="ec-nixl", outcome="failed") == 1


async def test_one_that_never_answers_ends_in_time(start: Start) -> None:
    pod = await start("--ec-connector=ec-nixl", "--prefill-timeout=100ms")
    async with Vllm() as one:
        one.reply = vllm.hang
        async with pod.post(ASKED, CHAT, x_encoder_hosts_ports=one.address) as answer:
            assert answer.status == 502


async def test_encoders_answer_all_at_once(start: Start) -> None:
    pod = await start("--ec-connector=ec-example")
    together = asyncio.Barrier(4)

    async def waits(request: web.Request, received: Received) -> web.StreamResponse:
        await together.wait()
        return web.json_response({})

    async with Vllm() as one:
        one.reply = waits
        async with pod.post(ASKED, CHAT, x_encoder_hosts_ports=one.address) as answer:
            assert answer.status == 200


async def test_copies_of_a_large_body_are_sent_in_turns(start: Start) -> None:
    pod = await start("--ec-connector=ec-example", "--max-request-body-bytes=128Ki")
    open_now, most = 0, 0

    async def counts(request: web.Request, received: Received) -> web.StreamResponse:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        return web.json_response({})

    pictures = [image(f"http://{number}") for number in range(12)]
    asked = {"messages": [{"role": "user", "content": pictures}], "tools": "x" * (60 << 10)}
    async with Vllm() as one:
        one.reply = counts
        async with pod.post(asked, CHAT, x_encoder_hosts_ports=one.address) as answer:
            assert answer.status == 200
        assert len(one.received) == 12
    assert most == 2


async def test_without_the_connector_the_header_means_nothing(pod: Pod) -> None:
    async with pod.post(ASKED, CHAT, prefiller=None, x_encoder_hosts_ports="127.0.0.1:1") as answer:
        assert answer.status == 200
    assert pod.decode.bodies == [ASKED]
    assert pod.decode.received[0].values("x-encoder-hosts-ports") == []


async def test_an_encoder_with_nothing_to_hand_over_is_told_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    pod = await start("--ec-connector=ec-nixl")
    async with Vllm() as one:
        one.reply = vllm.status(200, "{}")
        asked = {**ASKED, "ec_transfer_params": {"mine": {}}}
        async with pod.post(asked, CHAT, x_encoder_hosts_ports=one.address) as answer:
            assert answer.status == 200
    assert pod.decode.bodies[0]["ec_transfer_params"] == {"mine": {}}
    assert "answered no ec_transfer_params" in caplog.text


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([], 0),
        ([{"role": "user"}], 0),
        ([{"content": None}, {"content": "text"}, {"content": {}}], 0),
        ([{"content": ["text", 1, {"type": 3}, {"type": "video_url"}]}], 1),
        ([{"content": [{"type": "audio_url", "audio_url": 1}, {"type": "audio_url", "audio_url": 1}]}], 2),
        ([{"content": [image("a"), image("a"), {"type": "video_url", "video_url": {"url": "a"}}]}], 2),
    ],
)  # fmt: skip
def test_items_are_found_whatever_else_there_is(messages: Any, found: int) -> None:
    fields = legs.opened(json.dumps({"messages": messages}).encode())
    assert len(encoders.items(fields)) == found


@pytest.mark.parametrize("messages", [3, [3], {"a": 1}])
def test_messages_that_are_none_are_the_clients_fault(messages: Any) -> None:
    with pytest.raises(BadRequest, match="messages"):
        encoders.items(legs.opened(json.dumps({"messages": messages}).encode()))
