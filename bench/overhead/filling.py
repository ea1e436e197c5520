"""Fills the prefix index of a running picker, endpoint by endpoint, over the same ext_proc that Envoy speaks.

Envoy and a replica would only add their own time: what counts is how much the picker holds afterwards. The
subset hint says where each prompt goes, so that every endpoint's share is full and nobody's is filled twice.
"""

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from bench.overhead.page import BLOCKS, MODEL

METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
SUBSET: Final = ("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset")
BLOCK_BYTES: Final = 64 * 4
"""Of the picker: 64 tokens, each estimated as four bytes."""
PROMPT_BLOCKS: Final = 2048
"""The most of one prompt that the picker remembers."""
CAPACITY: Final = BLOCKS * 16 // 64
"""Blocks of the picker that an endpoint's cache holds, by its metrics page."""
AT_ONCE: Final = 2
GRPC_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def prompts_for(endpoints: int) -> int:
    """How many prompts fill them all."""
    return math.ceil(CAPACITY / PROMPT_BLOCKS) * endpoints


async def fill(port: int, endpoints: Sequence[str], told: Callable[[], None] = lambda: None) -> None:
    """Send every endpoint as many new prompts as its cache holds; `told` is called after each."""
    text = "x" * (PROMPT_BLOCKS * BLOCK_BYTES)
    turns = iter(range(prompts_for(len(endpoints))))

    async def some(process: Any) -> None:
        for turn in turns:
            await _converse(process, endpoints[turn % len(endpoints)], f"{turn:08d} {text}")
            told()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=GRPC_OPTIONS) as channel:
        process = channel.stream_stream(
            METHOD,
            request_serializer=ext_proc.ProcessingRequest.SerializeToString,
            response_deserializer=ext_proc.ProcessingResponse.FromString,
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some(process))


async def _converse(process: Any, endpoint: str, prompt: str) -> None:
    """One request and its answer, as Envoy would tell them in full duplex."""
    call = process()
    await call.write(_request_headers(endpoint))
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
    data = json.dumps(body).encode()
    await call.write(
        ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=data, end_of_stream=True))
    )
    async for reply in call:
        if reply.request_body.response.body_mutation.streamed_response.end_of_stream:
            break
    await call.write(_response_headers())
    await call.done_writing()
    async for _ in call:
        pass


def _request_headers(endpoint: str) -> Any:
    headers = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}
    both = processing_mode_pb2.ProcessingMode.FULL_DUPLEX_STREAMED
    message = ext_proc.ProcessingRequest(
        request_headers=_headers(headers, end=False),
        protocol_config=ext_proc.ProtocolConfiguration(request_body_mode=both, response_body_mode=both),
    )
    namespace, key = SUBSET
    message.metadata_context.filter_metadata[namespace].update({key: endpoint})
    return message


def _response_headers() -> Any:
    return ext_proc.ProcessingRequest(response_headers=_headers({":status": "200"}, end=True))


def _headers(fields: dict[str, str], *, end: bool) -> Any:
    values = [base_pb2.HeaderValue(key=key, raw_value=value.encode()) for key, value in fields.items()]
    return ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(headers=values), end_of_stream=end)
