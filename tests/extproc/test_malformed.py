"""Nothing that a gateway or a client can send stops the picker, or leaves a trace in its books."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.extproc import codec
from endpoint_picker.extproc.stream import OutOfOrder
from tests.fakes.gateway import Gateway, gateway
from tests.fakes.routing import Pool
from tests.fakes.serving import serving

GOOD = json.dumps({"model": "m", "prompt": "hello"}).encode()

HEADERS: dict[str, list[tuple[str, bytes]]] = {
    "no headers": [],
    "bytes that are no text": [(":path", b"/v1/completions"), ("x-odd", b"\xff\xfe\x00")],
    "an empty name": [("", b"x")],
    "a line break": [("x-llm-d-inference-fairness-id", b"a\r\nset-cookie: b")],
    "a path of odd bytes": [(":path", b"\xff\x00?\xff")],
    "a path of a megabyte": [(":path", b"/v1/completions" + b"/x" * 500_000)],
    "a negative length": [("content-length", b"-1")],
    "a length that is no number": [("content-length", b"ten")],
    "a length beyond numbers": [("content-length", b"9" * 5000)],
    "a long request id": [("x-request-id", b"i" * 1_000_000)],
    "an empty rewrite": [("x-llm-d-model-name-rewrite", b"")],
    "an odd rewrite": [("x-llm-d-model-name-rewrite", b'\xff"}{')],
    "an odd content type": [("content-type", b"\xff/\xff")],
    "many headers": [(f"x-{number}", b"y") for number in range(5_000)],
}

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"no healthy upstream",
    "half of it": GOOD[:-3],
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 200_000,
    "deep inside": b'{"model":"m","prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no text": b"\xff\xfe\x00\x80",
    "a lone surrogate": b'{"model":"\\ud800","prompt":"\\udfff"}',
    "no number": b'{"model":"m","prompt":[NaN]}',
    "a large number": b'{"model":"m","prompt":"x","max_tokens":1' + b"0" * 5_000 + b"}",
    "a negative token": b'{"model":"m","prompt":[-1]}',
    "a model that is no text": b'{"model":{"a":1},"prompt":"x"}',
    "the same key twice": b'{"model":"a","model":"b","prompt":"x"}',
    "zero bytes": bytes(1000),
    "an empty prompt": b'{"model":"m","prompt":""}',
}

PATHS = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/embeddings",
    "/inference/v1/generate",
)

RESPONSES: dict[str, tuple[list[tuple[str, bytes]], bytes]] = {
    "an odd status": ([(":status", b"abc")], b"{}"),
    "a status beyond numbers": ([(":status", b"9" * 5000)], b"{}"),
    "no status": ([], b"{}"),
    "JSON that is none": ([(":status", b"200"), ("content-type", b"application/json")], b"\xff{"),
    "events that are none": (
        [(":status", b"200"), ("content-type", b"text/event-stream")],
        b"data: {usage\xff",
    ),
    "odd usage": (
        [(":status", b"200"), ("content-type", b"application/json")],
        b'{"usage":{"prompt_tokens":-1e400,"completion_tokens":"x","prompt_tokens_details":[1]}}',
    ),
}


@pytest.fixture
async def pool() -> Pool:
    return Pool(waiting=[0, 1])


@pytest.fixture
async def picker(transport: str, pool: Pool) -> AsyncIterator[Gateway]:
    async with serving(transport, pool) as address, gateway(address) as client:
        yield client
        async with client.talk() as talk:
            assert await talk.route(GOOD) == "10.0.0.1:8000"
    assert (pool.open, pool.in_flight, pool.prefill_tokens) == (0, 0, 0)


def raw_headers(fields: list[tuple[str, bytes]]) -> Any:
    values = [base_pb2.HeaderValue(key=name, raw_value=value) for name, value in fields]
    return ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(headers=values))


@pytest.mark.parametrize("case", HEADERS)
async def test_odd_request_headers(picker: Gateway, case: str) -> None:
    async with picker.talk() as talk:
        await talk.say(request_headers=raw_headers(HEADERS[case]))
        await talk.request_body(GOOD)
        reply = await talk.reply()
    assert reply.WhichOneof("response") in ("request_headers", "immediate_response")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", BODIES)
async def test_odd_request_bodies(picker: Gateway, case: str, path: str) -> None:
    async with picker.talk() as talk:
        await talk.request_headers({":path": path})
        body = BODIES[case]
        for start in range(0, max(1, len(body)), 60_000):
            await talk.request_body(body[start : start + 60_000], end=start + 60_000 >= len(body))
        reply = await talk.reply()
    if reply.WhichOneof("response") == "immediate_response":
        assert reply.immediate_response.status.code == 400
        assert reply.immediate_response.body.startswith(b"inference error: BadRequest - ")


@pytest.mark.parametrize("case", RESPONSES)
async def test_odd_responses(picker: Gateway, case: str) -> None:
    fields, body = RESPONSES[case]
    async with picker.talk() as talk:
        await talk.route(GOOD)
        await talk.say(response_headers=raw_headers(fields))
        await talk.reply()
        await talk.response_body(body, end=True)
        assert await talk.body("response") == body


async def test_junk_beside_good_requests(picker: Gateway) -> None:
    async def junk(number: int) -> None:
        call = picker.raw()
        await call.write(bytes([number]) * number)
        await call.code()

    async def good() -> str:
        async with picker.talk() as talk:
            return await talk.route(GOOD)

    places = await asyncio.gather(*(good() for _ in range(20)), *(junk(n) for n in range(1, 20)))
    assert set(places[:20]) <= {"10.0.0.1:8000", "10.0.0.2:8000"}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        codec.decode(data)
    except codec.Malformed:
        return
    ext_proc.ProcessingRequest.FromString(data)


MESSAGE = ext_proc.ProcessingRequest(
    request_headers=raw_headers([(":path", b"/v1/completions"), ("x-request-id", b"a")]),
    protocol_config=ext_proc.ProtocolConfiguration(request_body_mode=2, response_body_mode=1),
).SerializeToString()


@given(st.data())
def test_a_damaged_message_never_breaks_the_state_machine(data: st.DataObject) -> None:
    damaged = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    pool = Pool(waiting=[0])
    stream = pool.stream()
    try:
        for reply in stream.receive(codec.decode(bytes(damaged))):
            codec.encode(reply)
    except (codec.Malformed, OutOfOrder, DecodeError):
        pass
    stream.close()
    assert (pool.open, pool.in_flight) == (0, 0)
