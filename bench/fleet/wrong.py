"""An index of prefixes that errs: some blocks it has forgotten, some it thinks are there and are not.

Real indexes err in runs (the end of a prompt was evicted, a burst of events was lost) and go on erring until
somebody tells them. So does this one: for each endpoint, a share of all runs of blocks is wrong for good,
whatever the index below says.
"""

from typing import Any, Final

import numpy as np

from endpoint_picker.core.attributes import Key, PrefixMatch
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.producers.prefix_approx import Prefixes

RUN: Final = 16
"""Blocks that are right or wrong together."""
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


class WrongIndex:
    """Runs after the producer of a `PrefixMatch`, and puts a wrong one in its place."""

    type = "bench-wrong-index"
    name = type

    def __init__(self, match: Key[PrefixMatch], share: float, salt: int) -> None:
        self._match = match
        self._prefixes: Key[Prefixes] = Key("PrefixHashes", match.producer)
        self._limit = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
        self._salt = np.uint64(salt)

    def produce(self, request: Request, candidates: Candidates) -> None:
        facts: Any = request.attributes
        match, prefixes = facts.read(self._match), facts.read(self._prefixes)
        if match is None or prefixes is None or len(prefixes.prompts) != 1 or not match.total:
            return
        starts = prefixes.prompts[0][::RUN]
        rows = np.arange(len(match.blocks), dtype=np.uint64)[:, None]
        # Of each row and run, for ever the same.
        wrong = _mixed(starts[None, :] ^ _mixed(rows + self._salt)) < self._limit
        first = np.arange(0, match.total, RUN)
        length = np.minimum(first + RUN, match.total) - first
        held = np.clip(match.blocks[:, None] - first, 0, length)
        blocks = np.where(wrong, length - held, held).sum(axis=1)
        facts.write(self._match, PrefixMatch(blocks, match.total, match.block_size))


def _mixed(values: Any) -> Any:
    """64 bits that look like chance (the finaliser of splitmix64)."""
    values = (values + np.uint64(1)) * _FACTOR
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
