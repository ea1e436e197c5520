"""What clients send and get, through the real Envoy and the picker."""

import asyncio
import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from bench.envoys import Config, connection_manager, ext_proc
from tests.fakes.replica import Pace, Replica
from tests.fakes.stack import COMPLETIONS, Building, Stack

DESTINATION: Final = "x-gateway-destination-endpoint"
LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz012345"
MEBIBYTE: Final = 1 << 20


def text_of(size: int) -> str:
    """Text without repetition, the same in each run."""
    return bytes(LETTERS[byte & 31] for byte in random.Random(size).randbytes(size)).decode()


def prefer_first(fleet: Sequence[Replica]) -> None:
    """The first replica has an empty queue, the others a long one."""
    for replica in fleet[1:]:
        replica.waiting = 50.0


async def streamed(gateway: Stack, asked: dict[str, object]) -> bytes:
    """A whole streamed answer."""
    async with gateway.client.post(gateway.url(COMPLETIONS), json=asked) as response:
        return await response.read()


async def test_a_completion_comes_from_the_replica_with_the_shortest_queue(
    stack: Building, tmp_path: Path
) -> None:
    async with stack(tmp_path, prepare=prefer_first) as gateway:
        answers = [await gateway.ask() for _ in range(4)]
        first = gateway.replicas[0]

        assert [answer.status for answer in answers] == [200] * 4
        assert {answer.replica for answer in answers} == {"a"}
        assert answers[0].json["model"] == "tiny"
        assert answers[0].values("x-went-into-resp-headers") == ["true"]
        assert first.received[0].values(DESTINATION) == [first.address]
        assert first.received[0].json == {"model": "tiny", "prompt": "hi"}
        assert await gateway.picker.sum_of("llm_d_epp_request_total", model_name="tiny") == 4
        await gateway.settles(0, gateway.in_flight)


async def test_chunks_arrive_as_they_are_produced(stack: Building, tmp_path: Path) -> None:
    """The replica makes the next chunk only once the client has the one before."""
    asked = {"model": "tiny", "prompt": "hi", "stream": True}
    async with stack(tmp_path, names=("a",)) as gateway:
        (replica,) = gateway.replicas
        replica.pace = Pace()
        async with gateway.client.post(gateway.url(COMPLETIONS), json=asked) as response:
            for number in range(replica.chunks):
                assert await gateway.in_flight() == 1
                replica.pace.allow(1)
                assert await response.content.readuntil(b"\n\n") == replica.event(asked, number)
            rest = await response.content.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        await gateway.settles(0, gateway.in_flight)
        assert await gateway.picker.sum_of("llm_d_epp_request_output_tokens_sum") == replica.chunks


async def test_ten_mebibytes_each_way_arrive_byte_for_byte(stack: Building, tmp_path: Path) -> None:
    prompt = text_of(10 * MEBIBYTE)
    async with stack(tmp_path, names=("a",)) as gateway:
        answer = await gateway.ask(prompt=prompt, echo=True)
        received = gateway.replicas[0].received[0]
        assert received.json["prompt"] == prompt
        assert answer.values("x-digest") == [hashlib.sha256(answer.body).hexdigest()]
        assert answer.json["choices"][0]["text"] == prompt


async def test_five_hundred_streams_at_once_all_complete(stack: Building, tmp_path: Path) -> None:
    """No stream goes on before all have begun."""
    streams = 500
    async with stack(tmp_path) as gateway:
        for replica in gateway.replicas:
            replica.pace = Pace()

        async def arrived() -> float:
            return sum(len(replica.received) for replica in gateway.replicas)

        asked = {"model": "tiny", "prompt": "hi", "stream": True}
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(streamed(gateway, asked)) for _ in range(streams)]
            await gateway.settles(streams, arrived)
            assert await gateway.in_flight() == streams
            for replica in gateway.replicas:
                assert replica.pace is not None
                replica.pace.allow(streams * replica.chunks)
        assert all(answer.result().endswith(b"data: [DONE]\n\n") for answer in answers)
        await gateway.settles(0, gateway.in_flight)


async def test_requests_without_a_body_and_unknown_paths_are_routed(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, names=("a",)) as gateway:
        models = await gateway.get("/v1/models")
        missing = await gateway.get("/nope?x=1")
        (replica,) = gateway.replicas
        assert (models.status, models.json["data"][0]["id"]) == (200, "tiny")
        assert (missing.status, missing.json) == (404, {"detail": "Not Found"})
        assert [received.path for received in replica.received] == ["/v1/models", "/nope?x=1"]
        await gateway.settles(0, gateway.in_flight)


@pytest.mark.parametrize("name", ["standalone", "fallback", "lean"])
async def test_a_websocket_echoes_text_and_long_frames(stack: Building, tmp_path: Path, name: str) -> None:
    async with stack(tmp_path, name, names=("a",)) as gateway:
        async with gateway.client.ws_connect(gateway.url("/ws")) as socket:
            await socket.send_str("hello")
            assert (await socket.receive()).data == "hello"
            data = text_of(200_000).encode()
            await socket.send_bytes(data)
            assert (await socket.receive()).data == data
            assert await gateway.in_flight() == 1
        await gateway.settles(0, gateway.in_flight)


async def test_repeated_response_headers_survive(stack: Building, tmp_path: Path) -> None:
    cookies = (("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"))
    async with stack(tmp_path, names=("a",)) as gateway:
        gateway.replicas[0].headers = (*cookies, ("server", "vllm"))
        answer = await gateway.ask()
        assert answer.values("set-cookie") == ["a=1; Path=/", "b=2"]
        assert answer.values("server") == ["vllm"]


async def test_a_request_id_is_made_once_or_kept(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, names=("a",)) as gateway:
        await gateway.ask()
        await gateway.ask(headers=[("x-request-id", "mine")])
        made, kept = (received.values("x-request-id") for received in gateway.replicas[0].received)
        assert len(made) == 1
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made[0])
        assert kept == ["mine"]


async def test_the_picker_makes_a_request_id_where_envoy_makes_none(stack: Building, tmp_path: Path) -> None:
    def no_ids(config: Config) -> None:
        connection_manager(config)["generate_request_id"] = False

    async with stack(tmp_path, "standalone", no_ids, names=("a",)) as gateway:
        await gateway.ask()
        (made,) = gateway.replicas[0].received[0].values("x-request-id")
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)


@pytest.mark.parametrize("envoy_removes", [True, False])
async def test_a_client_cannot_steer(stack: Building, tmp_path: Path, envoy_removes: bool) -> None:
    """Repeated destinations of a client do not survive that the picker sets its own, either."""

    def change(config: Config) -> None:
        if not envoy_removes:
            del connection_manager(config)["early_header_mutation_extensions"]

    spoofed = [
        (DESTINATION, "127.0.0.1:1"),
        (DESTINATION, "127.0.0.1:2"),
        ("x-gateway-destination-endpoint-subset", "127.0.0.1:1"),
        ("x-gateway-destination-endpoint-served", "127.0.0.1:1"),
        ("x-prefiller-host-port", "127.0.0.1:1"),
        ("x-encoder-hosts-ports", "127.0.0.1:1"),
        ("x-data-parallel-host-port", "127.0.0.1:1"),
    ]
    async with stack(tmp_path, "standalone", change, names=("a",)) as gateway:
        answer = await gateway.ask(headers=spoofed)
        bodyless = await gateway.client.get(gateway.url("/v1/models"), headers=spoofed)
        assert (answer.status, bodyless.status) == (200, 200)
        (replica,) = gateway.replicas
        for received in replica.received:
            assert received.values(DESTINATION) == [replica.address]
            assert not any(received.values(name) for name, _ in spoofed[2:])


@pytest.mark.parametrize("name", ["standalone", "fallback"])
async def test_a_model_name_is_rewritten_on_the_way_in_and_given_back_on_the_way_out(
    stack: Building, tmp_path: Path, name: str
) -> None:
    """The changed body is longer than the client declared; in full duplex Envoy drops the length anyway."""
    rewrite = [("x-llm-d-model-name-rewrite", "a-much-longer-name")]
    async with stack(tmp_path, name, names=("a",)) as gateway:
        answer = await gateway.ask(headers=rewrite)
        stream = await gateway.ask(headers=rewrite, stream=True)
        (replica,) = gateway.replicas
        assert [received.json["model"] for received in replica.received] == ["a-much-longer-name"] * 2
        assert answer.json["model"] == "tiny"
        assert b'"model": "tiny"' in stream.body or b'"model":"tiny"' in stream.body
        assert b"a-much-longer-name" not in stream.body
        assert stream.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("mode", ["STREAMED", "BUFFERED"])
async def test_a_model_name_is_rewritten_and_given_back_in_other_body_modes(
    stack: Building, tmp_path: Path, mode: str
) -> None:
    """The answer is shorter than the replica declared; in BUFFERED mode Envoy insists on the length."""

    def change(config: Config) -> None:
        modes = ext_proc(config)["processing_mode"]
        modes["request_body_mode"] = modes["response_body_mode"] = mode

    async with stack(tmp_path, "standalone", change, names=("a",)) as gateway:
        answer = await gateway.ask(headers=[("x-llm-d-model-name-rewrite", "a-much-longer-name")])
        assert answer.status == 200
        assert answer.json["model"] == "tiny"
        assert [received.json["model"] for received in gateway.replicas[0].received] == ["a-much-longer-name"]


@pytest.mark.parametrize("mode", ["STREAMED", "BUFFERED"])
async def test_other_body_modes(stack: Building, tmp_path: Path, mode: str) -> None:
    """The picker takes the mode from the first message: the configuration alone says it."""

    def change(config: Config) -> None:
        modes = ext_proc(config)["processing_mode"]
        modes["request_body_mode"] = modes["response_body_mode"] = mode

    prompt = text_of(MEBIBYTE // 2)
    async with stack(tmp_path, "standalone", change, prepare=prefer_first) as gateway:
        answer = await gateway.ask(prompt=prompt, echo=True)
        stream = await gateway.ask(stream=True)
        bodyless = await gateway.get("/v1/models")
        assert [answer.replica, stream.replica, bodyless.replica] == ["a", "a", "a"]
        assert answer.json["choices"][0]["text"] == prompt
        assert stream.body.count(b"data: ") == gateway.replicas[0].chunks + 2
        assert bodyless.status == 200
        await gateway.settles(0, gateway.in_flight)
