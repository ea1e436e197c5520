"""Facts drawn at random: for each data type what a producer could have written about a table of `ROWS` rows.

Whole facts know something of every row. The others have holes, where the type has a way to say so.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import (
    EncoderMatch,
    InFlightLoad,
    LatencyPrediction,
    PrefixMatch,
    TokenizedPrompt,
    UncachedTokens,
)

ROWS: Final = 8
"""Capacity of the tables that plugins are tried on; some rows are always free."""
MANY: Final = 10**6

Facts = Mapping[str, st.SearchStrategy[Any]]
"""Data type → what is drawn for it."""

BYTES: Final = st.binary(min_size=ROWS, max_size=ROWS)
IDS: Final = st.sampled_from(("", "a", "b", "default/pod-0", "default/pod-1", "10.0.0.0:8000"))


def known(*, whole: bool) -> Facts:
    """Every data type of the package."""
    milliseconds = _floats(1000.0 if whole else np.nan)
    return {
        attributes.TOKENIZED_PROMPT: st.lists(tokens(), max_size=2).map(_prompts),
        attributes.PREFIX_MATCH: matches(),
        attributes.IN_FLIGHT_LOAD: st.builds(InFlightLoad, counts(MANY), counts(MANY)),
        attributes.UNCACHED_TOKENS: st.builds(
            UncachedTokens, st.integers(0, MANY), matches() if whole else st.none() | matches(), _FEW
        ),
        attributes.ENCODER_MATCH: st.builds(EncoderMatch, _floats(1.0), st.floats(8.0, 64.0)),
        attributes.LATENCY: st.builds(
            LatencyPrediction, milliseconds, milliseconds, _shifted(milliseconds), _shifted(milliseconds)
        ),
        attributes.SESSION_ID: IDS,
        attributes.PEER: st.integers(0, ROWS - 1),
        attributes.AGENT_IDENTITY: IDS,
    }


ARRAYS: Final[Mapping[str, tuple[type[Any], Callable[[Any], tuple[Any, ...]]]]] = {
    attributes.PREFIX_MATCH: (PrefixMatch, lambda fact: (fact.blocks,)),
    attributes.IN_FLIGHT_LOAD: (InFlightLoad, lambda fact: (fact.requests, fact.tokens)),
    attributes.UNCACHED_TOKENS: (UncachedTokens, lambda fact: (fact.match.blocks,) if fact.match else ()),
    attributes.ENCODER_MATCH: (EncoderMatch, lambda fact: (fact.matched,)),
    attributes.LATENCY: (
        LatencyPrediction,
        lambda fact: (fact.ttft, fact.tpot, fact.ttft_headroom, fact.tpot_headroom),
    ),
    attributes.TOKENIZED_PROMPT: (TokenizedPrompt, lambda fact: ()),
}
"""Data type → the class of its value, and the arrays in it that are indexed by table row."""

_FEW: Final = st.integers(0, 64)


def tokens() -> st.SearchStrategy[Any]:
    """One prompt as token ids."""
    return st.lists(st.integers(0, 2**32 - 1), max_size=4).map(lambda ids: np.array(ids, np.uint32))


def counts(most: int) -> st.SearchStrategy[Any]:
    """A number for each row. All of them are one draw, which takes a tenth of the time of eight."""
    return BYTES.map(lambda drawn: np.frombuffer(drawn, np.uint8).astype(np.int64) * most // 255)


def matches() -> st.SearchStrategy[PrefixMatch]:
    """Cached blocks; nobody holds more than the prompt has."""
    return st.builds(_match, counts(64), _FEW, st.sampled_from((16, 64)))


def _match(blocks: npt.NDArray[np.int64], total: int, size: int) -> PrefixMatch:
    return PrefixMatch(np.minimum(blocks, total), total, size)


def _prompts(prompts: list[Any]) -> TokenizedPrompt:
    return TokenizedPrompt(tuple(prompts), sum(map(len, prompts)))


def _floats(last: float) -> st.SearchStrategy[Any]:
    """A float for each row, of five that are far apart."""
    values = np.array((0.0, 0.5, 1.0, 8.0, last))
    return BYTES.map(lambda drawn: values[np.frombuffer(drawn, np.uint8) % len(values)])


def _shifted(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values.map(lambda array: array - 1.0)
