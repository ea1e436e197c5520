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

from bench.processes import Failed
from bench.samples import talk
from bench.samples.page import BLOCKS, MODEL

BLOCK_BYTES: Final = 64 * 4
"""Of the picker: 64 tokens, each estimated as four bytes."""
PROMPT_BLOCKS: Final = 2048
"""The most of one prompt that the picker remembers."""
CAPACITY: Final = BLOCKS * 16 // 64
"""Blocks of the picker that an endpoint's cache holds, by its metrics page."""
NUMBER: Final = b"#NUMBER#"
AT_ONCE: Final = 2
GRPC_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def prompts_for(endpoints: int) -> int:
    """How many prompts fill them all."""
    return math.ceil(CAPACITY / PROMPT_BLOCKS) * endpoints


async def fill(port: int, endpoints: Sequence[str]) -> None:
    """Send every endpoint (`ip:port`) as many new prompts as its cache holds. Raises Failed."""
    turns = iter(range(prompts_for(len(endpoints))))
    prompt = _prompt()

    async def some(process: Any) -> None:
        for turn in turns:
            await _converse(process, endpoints[turn % len(endpoints)], prompt.replace(NUMBER, b"%08d" % turn))

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=GRPC_OPTIONS) as channel:
        process: Any = channel.stream_stream(talk.METHOD)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(some(process))
        except* grpc.aio.AioRpcError as errors:
            raise Failed(f"the index cannot be filled: {errors.exceptions[0]}") from errors


def _prompt() -> bytes:
    """The message with the body. A number at its beginning makes every block of it a new one, and as the
    number's length never changes, the message need not be built again for each."""
    text = f"{NUMBER.decode()} {'x' * (PROMPT_BLOCKS * BLOCK_BYTES)}"
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    data: bytes = talk.request_body(json.dumps(body).encode()).SerializeToString()
    return data


async def _converse(process: Any, endpoint: str, prompt: bytes) -> None:
    """One request and its answer. Bodies come whole: in full duplex each would travel back as well."""
    call = process()
    await call.write(talk.request_headers(endpoint=endpoint, mode=talk.BUFFERED).SerializeToString())
    await call.read()
    await call.write(prompt)
    await call.read()
    await call.write(talk.response_headers(end=True).SerializeToString())
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass
