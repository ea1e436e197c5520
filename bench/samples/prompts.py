"""Seeded request bodies, new ones without end, that cost the client no more than joining two strings."""

import json
import random
from dataclasses import dataclass
from typing import Final, Literal

from bench.samples.page import MODEL
from bench.traffic import VOCABULARY

Kind = Literal["small", "long"]

SHARED: Final = 8
"""Different beginnings that prompts have in common."""
OUTPUT_TOKENS: Final = 64
_NUMBER: Final = "#NUMBER#"
"""Stands where a body gets its own number, as long as one."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a body's text, and how many of them a shared beginning has."""

    text: int
    shared: int


SIZES: Final[dict[Kind, Size]] = {"small": Size(1_850, 1_200), "long": Size(400_000, 300_000)}


class Bodies:
    """Chat requests: every other one begins like others, then all go on as no other does."""

    def __init__(self, kind: Kind, seed: int, *, stream: bool = False) -> None:
        rng = random.Random(seed)
        size = SIZES[kind]
        rest = _text(rng, size.text - size.shared)
        beginnings = [_text(rng, size.shared) for _ in range(SHARED)]
        self._common = [_halves(each, f"{_NUMBER} {rest}", stream=stream) for each in beginnings]
        self._new = [_halves(f"{_NUMBER} {each}", rest, stream=stream) for each in beginnings]
        self._number = 0

    def next(self) -> bytes:
        """The next body."""
        self._number += 1
        group = self._common if self._number % 2 else self._new
        before, after = group[self._number // 2 % SHARED]
        return b"%b%08x%b" % (before, self._number, after)


def _halves(system: str, question: str, *, stream: bool) -> tuple[bytes, bytes]:
    """A body before and after its number."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    body = {"model": MODEL, "messages": messages, "max_tokens": OUTPUT_TOKENS, "temperature": 0.7}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    before, _, after = json.dumps(body).partition(_NUMBER)
    return before.encode(), after.encode()


def _text(rng: random.Random, length: int) -> str:
    words = rng.choices(VOCABULARY.split(), k=length // 6)
    return " ".join(words)[:length].ljust(length, "x")
