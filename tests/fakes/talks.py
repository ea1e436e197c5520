"""Conversations that many tests begin with."""

import json
from typing import Final

from endpoint_picker.extproc.messages import BodyMode, HeadersReply, Modes, Side
from tests.fakes.playbook import Playbook, piece, request_body, request_headers, routed
from tests.fakes.routing import Pool

PROMPT: Final = json.dumps(
    {"model": "llama", "prompt": "Tell me about the sea. " * 8, "max_tokens": 5}
).encode()
ANSWER: Final = b'{"model":"llama","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":10}}'
BEST: Final = "10.0.0.1:8000"
"""Where an unhindered pick of `pool_of_three` goes."""

STREAMED: Final = Modes(BodyMode.STREAMED, BodyMode.STREAMED)
BUFFERED: Final = Modes(BodyMode.BUFFERED, BodyMode.BUFFERED)
NONE: Final = Modes(BodyMode.NONE, BodyMode.NONE)


def pool_of_three() -> Pool:
    """One idle replica and two busy ones."""
    return Pool(waiting=[0, 5, 9], kv_usage=[0.1, 0.5, 0.9])


def talk(pool: Pool, **options: int) -> Playbook:
    """A new conversation."""
    return Playbook(pool.stream(**options))


def marked(reply: object) -> bool:
    """The answer to response headers: only our mark is set."""
    return isinstance(reply, HeadersReply) and reply.mutation.set == (("x-went-into-resp-headers", "true"),)


def exchange(pool: Pool) -> Playbook:
    """A conversation whose request is routed, in full duplex."""
    book = talk(pool) >> request_headers() >> request_body(PROMPT)
    return book << routed(BEST) << piece(Side.REQUEST, PROMPT, end=True)
