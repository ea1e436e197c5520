"""Fills the prefix index of a running picker, endpoint by endpoint, over the same ext_proc that Envoy speaks.

Envoy and a replica would only add their own time: what counts is how much the picker holds afterwards. The
subset hint says where each prompt goes, so that every endpoint's share is full and nobody's is filled twice.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any, Final

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from bench.samples import talk
from bench.samples.page import BLOCKS, MODEL

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


async def fill(port: int, endpoints: Sequence[str]) -> None:
    """Send every endpoint (`ip:port`) as many new prompts as its cache holds."""
    text = "x" * (PROMPT_BLOCKS * BLOCK_BYTES)
    turns = iter(range(prompts_for(len(endpoints))))

    async def some(process: Any) -> None:
        for turn in turns:
            await _converse(process, endpoints[turn % len(endpoints)], f"{turn:08d} {text}")

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=GRPC_OPTIONS) as channel:
        process = channel.stream_stream(
            talk.METHOD,
            request_serializer=ext_proc.ProcessingRequest.SerializeToString,
            response_deserializer=ext_proc.ProcessingResponse.FromString,
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some(process))


async def _converse(process: Any, endpoint: str, prompt: str) -> None:
    """One request and its answer, as Envoy would tell them in full duplex."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
    call = process()
    await call.write(talk.request_headers(endpoint=endpoint))
    await call.write(talk.request_body(json.dumps(body).encode()))
    async for reply in call:
        if reply.request_body.response.body_mutation.streamed_response.end_of_stream:
            break
    await call.write(talk.response_headers(end=True))
    await call.done_writing()
    async for _ in call:
        pass
