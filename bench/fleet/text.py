"""One request as a picker sees it (a JSON body) and as an engine does (block hashes), both from its ids.

The text of a block is its id as 16 hexadecimal digits, over and over, four bytes for each token: what the
picker's own estimate takes for a token. It is made anew each time: to repeat a few bytes costs less than to
look a long text up.
"""

import zlib
from typing import Final

from bench.fleet.traffic import Request

MODEL: Final = "model"
TOKEN_BYTES: Final = 4
_DIGITS: Final = 16
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""Odd: multiplied by it modulo 2^64, different ids stay different and look alike in no digit."""
_MASK: Final = (1 << 64) - 1


def body(request: Request, block_tokens: int) -> bytes:
    """A streaming completion request; `block_tokens` must be a multiple of 4."""
    text = prompt(request, block_tokens)
    model = (request.adapter or MODEL).encode()
    return b'{"model":"%b","stream":true,"stream_options":{"include_usage":true},"prompt":"%b"}' % (
        model,
        text,
    )


def prompt(request: Request, block_tokens: int, token_bytes: int = TOKEN_BYTES) -> bytes:
    """The text alone, with so many bytes for each token; those of a block must be a multiple of 16."""
    times = block_tokens * token_bytes // _DIGITS
    blocks = request.blocks[: -(-request.prompt_tokens // block_tokens)]
    text = b"".join([b"%016x" % (block * _GOLDEN & _MASK) * times for block in blocks])
    return text[: request.prompt_tokens * token_bytes]


def hashes(request: Request, block_tokens: int, engine_block: int) -> list[int]:
    """Hashes of an engine's full blocks, as far as the ids tell; its block must divide that of the ids."""
    parts = block_tokens // engine_block
    known = min(request.prompt_tokens + request.output_tokens, len(request.blocks) * block_tokens)
    if known > request.prompt_tokens and len(request.blocks) == -(-request.prompt_tokens // block_tokens):
        known = request.prompt_tokens  # the ids end with the prompt, in the midst of a block
    # An adapter's entries are no other's, though the text be the same.
    base = zlib.crc32(request.adapter.encode()) << 64 if request.adapter else 0
    keys = [base + block * parts + part for block in request.blocks for part in range(parts)]
    return keys[: known // engine_block]
