"""Per-request facts: what a producer writes and a filter, scorer or handler reads.

A fact is keyed by its data type and by the name of the producer instance that wrote it, so that two
instances of one producer (say a guess and a precise index) can feed two scorers. Facts about endpoints
are arrays indexed by **table row** (length `EndpointTable.capacity`), so that a filter which drops
candidates never has to re-align them: readers take `fact.blocks[candidates.rows]`.
"""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

Tokens = npt.NDArray[np.uint32]
"""Token ids of one prompt, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Key(Generic[T]):
    """Names one fact; `T` is the type of its value."""

    data_type: str
    producer: str

    def __str__(self) -> str:
        return f"{self.data_type}/{self.producer}"


class Attributes:
    """The facts of one request."""

    __slots__ = ("_facts",)

    def __init__(self) -> None:
        self._facts: dict[Key[Any], Any] = {}

    def read(self, key: Key[T]) -> T | None:
        """The fact, or None where its producer had nothing to say."""
        return self._facts.get(key)

    def write(self, key: Key[T], value: T) -> None:
        self._facts[key] = value


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """The prompts of one request as token ids, true or estimated."""

    prompts: tuple[Tokens, ...]
    total: int
    """Tokens over all prompts."""


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """How much of the prompt each endpoint already holds."""

    blocks: npt.NDArray[np.int64]
    """Leading blocks held, shape (capacity,), indexed by table row."""
    total: int
    """Blocks of the prompt."""
    block_size: int
    """Tokens a block."""


@dataclass(frozen=True, slots=True)
class InFlightLoad:
    """What the picker itself has sent out and not seen finished, at the time of the request."""

    requests: npt.NDArray[np.int64]
    """Shape (capacity,), indexed by table row."""
    tokens: npt.NDArray[np.int64]
    """Uncached prompt tokens (with the estimate of output tokens where asked for), same shape."""


@dataclass(frozen=True, slots=True)
class UncachedTokens:
    """What this request would cost on each endpoint."""

    prompt: npt.NDArray[np.int64]
    """Prompt tokens that the endpoint would have to compute, shape (capacity,), by table row."""
    output: int
    """Estimated output tokens to charge on top (0 unless the producer estimates them)."""


TOKENIZED_PROMPT: Final = "TokenizedPrompt"
PREFIX_MATCH: Final = "PrefixCacheMatchInfo"
IN_FLIGHT_LOAD: Final = "InFlightLoad"
UNCACHED_TOKENS: Final = "UncachedRequestTokens"


def tokenized_prompt(producer: str = "token-producer") -> Key[TokenizedPrompt]:
    return Key(TOKENIZED_PROMPT, producer)


def prefix_match(producer: str = "approx-prefix-cache-producer") -> Key[PrefixMatch]:
    return Key(PREFIX_MATCH, producer)


def in_flight_load(producer: str = "inflight-load-producer") -> Key[InFlightLoad]:
    return Key(IN_FLIGHT_LOAD, producer)


def uncached_tokens(producer: str = "inflight-load-producer") -> Key[UncachedTokens]:
    return Key(UNCACHED_TOKENS, producer)
