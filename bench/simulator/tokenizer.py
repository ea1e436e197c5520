"""Text to token ids and back without a vocabulary, since a simulator needs only lengths and equal prefixes.

A token is up to four bytes of UTF-8, and its id is those bytes as a number; ids below 256 are special tokens.
So equal text prefixes give equal id prefixes, ids decode to their text, and a prompt of 400 KB takes well
below a millisecond. Messages are framed and tokenised one by one, as chat templates do: an answer that
comes back in the next turn has the ids with which it was generated.
"""

import json
import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.simulator.blocks import Tokens

WIDTH = 4
"""Bytes in a token."""
SPECIAL = {1: "<|start|>", 2: "<|end|>", 3: "<|image|>"}
_START, _END, _IMAGE = np.array([[1], [2], [3]], dtype=np.uint32)
_IMAGE_TOKENS = 256
"""Placeholders for one picture, sound or file."""
_LETTERS = b"etaoinshrdlucmfw"
_WORDS: Tokens = np.frombuffer(
    b"".join(bytes((32, a, b, c)) for a in _LETTERS for b in _LETTERS for c in _LETTERS), dtype=">u4"
).astype(np.uint32)
"""The 4,096 words of generated text, each a blank and three letters."""


def encode(text: str) -> Tokens:
    """Ids of a text."""
    raw = text.encode("utf-8", "surrogatepass")
    return np.frombuffer(raw + bytes(-len(raw) % WIDTH), dtype=">u4").astype(np.uint32)


def decode(tokens: Tokens) -> str:
    """Text of the ids; special tokens show their names, bytes that are no UTF-8 a replacement character."""
    if not bool((tokens < 256).any()):
        return tokens.astype(">u4").tobytes().replace(b"\0", b"").decode("utf-8", "replace")
    return "".join(piece(token) for token in tokens.tolist())


def piece(token: int) -> str:
    """Text of a single id."""
    if token < 256:
        return SPECIAL.get(token, f"<|{token}|>")
    return token.to_bytes(WIDTH, "big").replace(b"\0", b"").decode("utf-8", "replace")


def encode_chat(
    messages: Sequence[Mapping[str, Any]], *, tools: object = None, generate: bool = True
) -> Tokens:
    """Ids of a conversation: tools first, each message in a frame, then the opening of the answer."""
    parts: list[Tokens] = []
    if tools:
        parts += (_START, encode("tools\n"), encode(json.dumps(tools, sort_keys=True)), _END)
    for message in messages:
        parts += (_START, encode(f"{message.get('role', 'user')}\n"), *_content(message), _END)
    if generate:
        parts += (_START, encode("assistant\n"))
    return np.concatenate(parts)


def _content(message: Mapping[str, Any]) -> list[Tokens]:
    """Ids of what a message says: text, text parts, placeholders for other parts, tool calls."""
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    tokens = [_part(part) for part in parts]
    if message.get("tool_calls"):
        tokens.append(encode(json.dumps(message["tool_calls"], sort_keys=True)))
    return tokens


def _part(part: Mapping[str, Any] | str) -> Tokens:
    if isinstance(part, str):
        return encode(part)
    if isinstance(part.get("text"), str):
        return encode(part["text"])
    # Another picture must not hit the cached blocks of this one, so its content marks the placeholders.
    mark = zlib.crc32(json.dumps(part, sort_keys=True).encode()) | 0x100
    return np.concatenate((_IMAGE, np.full(_IMAGE_TOKENS - 1, mark, dtype=np.uint32)))


def filler(count: int, seed: int) -> Tokens:
    """Generated text of `count` tokens; a longer one of the same seed begins with it."""
    picks = np.frombuffer(random.Random(seed).randbytes(4 * count), dtype=np.uint32)
    words: Tokens = _WORDS[picks & 0xFFF]
    return words


def fingerprint(tokens: Tokens, seed: int = 0) -> int:
    """A number that stands for a prompt, the same in every run."""
    return zlib.crc32(tokens.tobytes(), seed)
