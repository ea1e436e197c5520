"""Routes, the order of the checks, and what a client is told when something is wrong."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.fakes import vllm
from tests.fakes.engine import until
from tests.fakes.replica import Pace, Received, replicas
from tests.sidecar.conftest import Pod, Start

FORBIDDEN = "Forbidden: prefill target not allowed by SSRF protection"


async def test_health_is_answered_here(pod: Pod) -> None:
    await pod.decode.stop()
    async with pod.client.get(pod.url("/health")) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_everything_else_is_the_engines(pod: Pod) -> None:
    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        response = web.Response(status=207, reason="Fine", text="page")
        response.headers.extend(
            [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Connection", "x-hop"), ("X-Hop", "1")]
        )
        return response

    pod.decode.reply = reply
    headers = {
        "x-forwarded-for": "10.0.0.1",
        "te": "trailers",
        "connection": "x-mine",
        "x-mine": "1",
        "x-a": "2",
    }
    async with pod.client.request(
        "PUT", pod.url("/v1/files//x?a=b"), data=b"\x00\xff", headers=headers
    ) as answer:
        assert (answer.status, answer.reason, await answer.text()) == (207, "Fine", "page")
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert "X-Hop" not in answer.headers
    (received,) = pod.decode.received
    assert (received.method, received.path, received.body) == ("PUT", "/v1/files//x?a=b", b"\x00\xff")
    assert received.values("x-forwarded-for") == ["10.0.0.1, 127.0.0.1"]
    assert received.values("te") == received.values("x-mine") == []
    assert received.values("x-a") == ["2"]
    assert received.values("content-length") == ["2"]


async def test_without_a_prefiller_a_request_passes_as_it_comes(pod: Pod) -> None:
    body = b"no json \xff"
    async with pod.post(body, prefiller=None, x_request_id="mine") as answer:
        assert answer.status == 500
    pod.decode.reply = vllm.status(200, "ok")
    async with pod.post(body, prefiller=None, x_request_id="mine") as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    assert pod.decode.received[-1].body == body
    assert pod.decode.received[-1].values("x-request-id") == ["mine"]
    assert pod.prefill.received == []


async def test_a_get_of_a_prompts_path_has_one_leg(pod: Pod) -> None:
    async with pod.client.get(
        pod.url("/v1/completions"), headers={"x-prefiller-host-port": "10.0.0.1:1"}
    ) as answer:
        assert answer.status == 200
    assert pod.prefill.received == []


async def test_a_place_that_nobody_named_is_refused(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    pod = await start("--allowed-prefillers=10.0.0.7:8000")
    for named in ("127.0.0.2:80", "169.254.169.254:80", "nonsense", "localhost:1"):
        # Before anything else of the request is looked at.
        async with pod.post(b"no json", prefiller=named, x_data_parallel_host_port="x:1") as answer:
            assert (answer.status, await answer.text()) == (403, FORBIDDEN)
            assert answer.content_type == "text/plain"
    assert "--allowed-prefillers" in caplog.text
    assert pod.counted("refused_targets_total", header="x-prefiller-host-port") == 4
    assert pod.decode.received == pod.prefill.received == []


async def test_with_every_place_allowed_a_place_must_still_be_one(start: Start) -> None:
    pod = await start("--allow-any-prefiller")
    async with pod.post({"prompt": "p"}, prefiller=f"localhost:{pod.prefill.port}") as answer:
        assert answer.status == 200
    assert len(pod.prefill.received) == 1
    async with pod.post({"prompt": "p"}, prefiller="a/b") as answer:
        assert answer.status == 400
        assert (await answer.json())["type"] == "BadRequestError"


async def test_of_several_prefillers_the_first_counts(pod: Pod) -> None:
    async with pod.post({"prompt": "p"}, prefiller=f" http://{pod.prefill.address} , 10.0.0.1:1") as answer:
        assert answer.status == 200
    assert len(pod.prefill.received) == 1
    async with pod.post({"prompt": "p"}, prefiller=" , ") as answer:
        assert answer.status == 200
    assert len(pod.prefill.received) == 1


async def test_any_of_several_prefillers_where_that_is_asked_for(start: Start) -> None:
    pod = await start(environment={"ENABLE_PREFILLER_SAMPLING": "1"})
    async with vllm.Vllm() as other:
        for _ in range(60):
            async with pod.post(
                {"prompt": "p"}, prefiller=f"{pod.prefill.address},{other.address}"
            ) as answer:
                assert answer.status == 200
        assert len(pod.prefill.received) + len(other.received) == 60
        assert pod.prefill.received
        assert other.received


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"prompt"', b"null"])
async def test_a_body_that_is_no_object_is_the_clients_fault(pod: Pod, body: bytes) -> None:
    async with pod.post(body) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/json"
        told = await answer.json()
    assert told | {"message": ""} == {
        "object": "error",
        "message": "",
        "type": "BadRequestError",
        "param": "",
        "code": 400,
    }
    assert "no JSON object" in told["message"]
    assert pod.prefill.received == pod.decode.received == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_is_not_held(start: Start, chunked: bool) -> None:
    pod = await start("--max-request-body-bytes=1Ki")
    body = json.dumps({"prompt": "p" * 2000}).encode()

    async def pieces() -> Any:
        yield body

    headers = {"x-prefiller-host-port": pod.prefill.address}
    data = pieces() if chunked else body
    async with pod.client.post(pod.url("/v1/completions"), data=data, headers=headers) as answer:
        assert answer.status == 413
        assert (await answer.json())["type"] == "PayloadTooLarge"
    assert pod.prefill.received == []
    async with pod.post(body, prefiller=None) as answer:
        assert answer.status == 200  # passes through, so nothing is held


async def test_an_engine_that_is_not_there_yet_is_unavailable(pod: Pod) -> None:
    await pod.decode.stop()
    for prefiller in (None, ""):
        async with pod.post({"prompt": "p"}, prefiller=prefiller) as answer:
            assert answer.status == 503
            told = await answer.json()
        assert (told["type"], told["code"]) == ("ServiceUnavailable", 503)
        assert "decode node is not ready" in told["message"]


async def test_an_engine_that_hangs_up_is_a_bad_gateway(pod: Pod) -> None:
    pod.decode.reply = vllm.cut
    for prefiller in (None, ""):
        async with pod.post({"prompt": "p"}, prefiller=prefiller) as answer:
            assert answer.status == 502
            assert (await answer.json())["type"] == "BadGateway"


async def test_an_error_of_the_engine_is_passed_on(pod: Pod) -> None:
    pod.decode.reply = vllm.status(429, '{"error": 1}', retry_after="3")
    async with pod.post({"prompt": "p"}) as answer:
        assert (answer.status, await answer.text()) == (429, '{"error": 1}')
        assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("prefiller", ["", None])
async def test_events_pass_one_by_one(pod: Pod, prefiller: str | None) -> None:
    pod.decode.pace = Pace()
    async with pod.post({"prompt": "p", "stream": True}, prefiller=prefiller) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for part in pod.decode.text:
            pod.decode.pace.allow(1)
            line = await answer.content.readline()
            assert json.loads(line.removeprefix(b"data: "))["choices"][0]["text"] == part
            assert await answer.content.readline() == b"\n"
        pod.decode.pace.allow(1)
        assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")


async def test_an_answer_that_breaks_off_does_not_look_whole(pod: Pod) -> None:
    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"a":1}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    pod.decode.reply = reply
    for prefiller in ("", None):
        async with pod.post({"prompt": "p"}, prefiller=prefiller) as answer:
            assert answer.status == 200
            assert await answer.content.readline() == b'data: {"a":1}\n'
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()


async def test_a_client_that_leaves_takes_the_prefill_with_it(pod: Pod) -> None:
    pod.prefill.reply = vllm.hang
    task = asyncio.create_task(pod.post({"prompt": "p"})._coro)
    await pod.prefill.arrived.wait()
    task.cancel()
    await until(lambda: pod.prefill.left == 1)
    assert pod.decode.received == []
    await until(lambda: pod.counted("open_requests") == 0)


async def test_a_client_that_leaves_takes_the_decode_with_it(pod: Pod) -> None:
    pod.decode.pace = Pace()
    async with pod.post({"prompt": "p", "stream": True}) as answer:
        pod.decode.pace.allow(1)
        await answer.content.readline()
        answer.close()
    await until(lambda: pod.decode.left == 1)


async def test_a_body_goes_up_while_it_comes_in(pod: Pod) -> None:
    arrived, finished = asyncio.Event(), asyncio.Event()

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        return web.Response(body=received.body)

    async def pieces() -> Any:
        yield b"x" * 100_000
        arrived.set()
        await finished.wait()
        yield b"y"

    pod.decode.reply = reply
    task = asyncio.create_task(pod.client.post(pod.url("/v1/audio/transcriptions"), data=pieces())._coro)
    await arrived.wait()
    finished.set()
    async with await task as answer:
        assert len(await answer.read()) == 100_001
    assert pod.decode.received[0].values("transfer-encoding") == ["chunked"]


async def test_a_kept_connection_that_the_engine_closed_is_no_failure(pod: Pod) -> None:
    for engine in (pod.prefill, pod.decode):
        replies = [engine.complete, vllm.cut, engine.complete]

        async def reply(
            request: web.Request, received: Received, replies: list[Any] = replies
        ) -> web.StreamResponse:
            answer: web.StreamResponse = await replies.pop(0)(request, received)
            return answer

        engine.reply = reply
    for _ in range(2):
        async with pod.post({"prompt": "p"}) as answer:
            assert answer.status == 200
            assert (await answer.json())["id"] == "decode"
    assert pod.counted("prefills_total", connector="nixlv2", outcome="done", reason="") == 2


async def test_a_large_header_and_a_strange_one_pass(pod: Pod) -> None:
    async with pod.client.get(pod.url("/v1/models"), headers={"x-large": "x" * 100_000}) as answer:
        assert answer.status == 200
    assert len(pod.decode.received[0].values("x-large")[0]) == 100_000
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.sidecar.ports[0])
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-odd: \xff\r\nconnection: close\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()


async def test_expectations_are_answered_here(pod: Pod) -> None:
    body = b'{"prompt": "p"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.sidecar.ports[0])
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n"
    head += b"content-length: %d\r\n" % len(body)
    writer.write(head + b"x-prefiller-host-port: %b\r\n\r\n" % pod.prefill.address.encode())
    assert b" 100 " in await reader.readline()
    writer.write(body)
    assert b" 200 " in await reader.read()
    writer.close()
    assert pod.decode.received[0].values("expect") == []


@pytest.mark.parametrize("flags", [(), ("--enable-p2p-pull",), ("--kv-connector=offloading",)])
async def test_a_source_alone_is_told_to_an_engine_that_can_fetch(
    start: Start, flags: tuple[str, ...]
) -> None:
    pod = await start(*flags, environment={"POD_IP": "127.0.0.1"})
    asked = {"prompt": "p", "kv_transfer_params": {"mine": 1}}
    named = {"x_kv_cache_source_host_port": "127.0.0.1:9"}
    async with pod.post(asked, prefiller=None, headers=named) as answer:
        assert answer.status == 200
    params = pod.decode.bodies[0]["kv_transfer_params"]
    assert pod.decode.received[0].values("x-kv-cache-source-host-port") == []
    if flags:
        assert params["remote_kv_source"].pop("kv_request_id")
        assert params == {"remote_kv_source": {"remote_host": "127.0.0.1", "remote_port": 7777}}
    else:
        assert params == {"mine": 1}
    # A replica does not fetch from itself, nor from where it must not.
    for source in (f"127.0.0.1:{pod.sidecar.ports[0]}", "10.9.9.9:1", "x"):
        async with pod.post(asked, prefiller=None, x_kv_cache_source_host_port=source) as answer:
            assert answer.status == 200
        assert pod.decode.bodies[-1] == asked


async def test_a_head_has_no_body(pod: Pod) -> None:
    pod.decode.reply = vllm.status(200, "page")
    async with pod.client.head(pod.url("/v1/models")) as answer:
        assert (answer.status, answer.headers["content-length"], await answer.read()) == (200, "4", b"")


async def test_sockets_pass_messages_both_ways(start: Start) -> None:
    async with replicas("engine") as (engine,):
        pod = await start(f"--model-server-port={engine.port}")
        async with pod.client.ws_connect(pod.url("/ws?a=1"), headers={"authorization": "Bearer k"}) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await socket.send_bytes(b"\x00")
            assert await socket.receive_bytes() == b"\x00"
        (received,) = engine.received
        assert received.path == "/ws?a=1"
        assert received.values("authorization") == ["Bearer k"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await pod.client.ws_connect(pod.url("/elsewhere"))
        assert raised.value.status == 404
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await pod.client.ws_connect(pod.url("/ws"))
    assert raised.value.status == 503


@pytest.mark.parametrize("named", [True, False])
async def test_a_body_that_breaks_off_is_the_clients_fault(pod: Pod, named: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.sidecar.ports[0])
    header = b"x-prefiller-host-port: %b\r\n" % pod.prefill.address.encode() if named else b""
    writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n" + header)
    writer.write(b'\r\n4\r\n{"a"\r\nnonsense\r\n')
    assert b" 400 " in await reader.readline()
    writer.close()
    assert pod.prefill.received == pod.decode.received == []
