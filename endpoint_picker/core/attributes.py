"""Per-request facts: what a producer writes and a filter, scorer or handler reads.

A fact is keyed by its data type and by the name of the producer instance that wrote it, so that two
instances of one producer (say a guess and a precise index) can feed two scorers. Facts about endpoints
are arrays indexed by **table row** (length `EndpointTable.capacity`), so that a filter which drops
candidates never has to re-align them: readers take `fact.blocks[candidates.rows]`. What is rarely read is
computed when it is asked for.
"""

from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from endpoint_picker.core.records import record

T = TypeVar("T")

Counts = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint32]
"""Token ids of one prompt, shape (n,)."""


class Key(NamedTuple, Generic[T]):
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

    def drop(self, *data_types: str) -> None:
        """Forget the facts of these types, whoever wrote them."""
        self._facts = {key: fact for key, fact in self._facts.items() if key.data_type not in data_types}


@record
class TokenizedPrompt:
    """The prompts of one request as token ids, true or estimated."""

    prompts: tuple[Tokens, ...]
    total: int
    """Tokens over all prompts."""


@record
class PrefixMatch:
    """How much of the prompt each endpoint already holds."""

    blocks: Counts
    """Leading blocks held, shape (capacity,), indexed by table row."""
    total: int
    """Blocks of the prompt."""
    block_size: int
    """Tokens a block."""

    def held(self, rows: npt.NDArray[np.int64]) -> Counts:
        """Blocks that endpoints hold, shape (n,); `rows` are in order."""
        blocks = self.blocks
        if not len(rows) or rows.item(-1) < len(blocks):
            return blocks[rows]
        # The table has grown since the match was made: its new rows hold nothing.
        return np.append(blocks, np.zeros(rows.item(-1) + 1 - len(blocks), np.int64))[rows]


@record
class InFlightLoad:
    """What the picker itself has sent out and not seen finished, at the time of the request."""

    requests: Counts
    """Shape (capacity,), indexed by table row."""
    tokens: Counts
    """Uncached prompt tokens (with the estimate of output tokens where asked for), same shape."""


@record
class UncachedTokens:
    """What this request would cost on each endpoint."""

    tokens: int
    """Of the prompt."""
    match: PrefixMatch | None
    """What each endpoint holds of it; None: not known, so all of it counts everywhere."""
    output: int
    """Estimated output tokens to charge on top (0 unless the producer estimates them)."""

    def at(self, row: int) -> int:
        """Prompt tokens that the endpoint in a row would have to compute.

        max(0, total - held) · block size + max(0, tokens - total · block size): blocks that are not held,
        and what lies beyond the blocks that were looked at; but no more than the prompt has, since its
        last block is seldom full.
        """
        match = self.match
        if match is None:
            return self.tokens
        held = int(match.blocks[row]) if row < len(match.blocks) else 0
        beyond = max(0, self.tokens - match.total * match.block_size)
        return min(max(0, match.total - held) * match.block_size + beyond, self.tokens)

    def on(self, rows: npt.NDArray[np.int64]) -> Counts:
        """The same for many rows, shape (n,)."""
        match = self.match
        if match is None:
            return np.full(len(rows), self.tokens, np.int64)
        size, whole = match.block_size, match.total * match.block_size
        missing: Counts = max(self.tokens, whole) - np.minimum(match.held(rows), match.total) * size
        return missing if whole <= self.tokens else np.minimum(missing, self.tokens)


@record
class EncoderMatch:
    """How much of a request's media each endpoint has encoded before."""

    matched: npt.NDArray[np.float64]
    """Size of the items held, shape (capacity,), indexed by table row."""
    total: float
    """Size of all items."""


@record
class LatencyPrediction:
    """What the request would take on each endpoint; shape (capacity,), by table row, NaN: not predicted."""

    ttft: npt.NDArray[np.float64]
    """Time to first token, milliseconds."""
    tpot: npt.NDArray[np.float64]
    """Time per output token, milliseconds."""
    ttft_headroom: npt.NDArray[np.float64]
    """Objective less prediction, milliseconds."""
    tpot_headroom: npt.NDArray[np.float64]


TOKENIZED_PROMPT: Final = "TokenizedPrompt"
PREFIX_MATCH: Final = "PrefixCacheMatchInfo"
IN_FLIGHT_LOAD: Final = "InFlightLoad"
UNCACHED_TOKENS: Final = "UncachedRequestTokens"
ENCODER_MATCH: Final = "EncoderCacheMatchInfo"
LATENCY: Final = "LatencyPredictionInfo"
SESSION_ID: Final = "SessionID"
PEER: Final = "peer-endpoint"
AGENT_IDENTITY: Final = "agent-identity"


def tokenized_prompt(producer: str = "token-producer") -> Key[TokenizedPrompt]:
    return Key(TOKENIZED_PROMPT, producer)


def prefix_match(producer: str = "approx-prefix-cache-producer") -> Key[PrefixMatch]:
    return Key(PREFIX_MATCH, producer)


def in_flight_load(producer: str = "inflight-load-producer") -> Key[InFlightLoad]:
    return Key(IN_FLIGHT_LOAD, producer)


def uncached_tokens(producer: str = "inflight-load-producer") -> Key[UncachedTokens]:
    return Key(UNCACHED_TOKENS, producer)


def encoder_match(producer: str = "mm-embeddings-cache-producer") -> Key[EncoderMatch]:
    return Key(ENCODER_MATCH, producer)


def latency(producer: str = "predicted-latency-producer") -> Key[LatencyPrediction]:
    return Key(LATENCY, producer)


def session_id(producer: str = "session-id-producer") -> Key[str]:
    return Key(SESSION_ID, producer)


def peer(producer: str = "disagg-profile-handler") -> Key[int]:
    """Table row of the endpoint that another stage of the request was given."""
    return Key(PEER, producer)


def agent_identity() -> Key[str]:
    return Key(AGENT_IDENTITY, "")
