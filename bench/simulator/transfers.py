"""Sequences that hold blocks outside the batch, because two engines share the work on them.

One engine computes a prompt and keeps its blocks; another fetches them and goes on. How long that takes and
whether it works out is the business of those who drive the engines.
"""

from bench.simulator import holdings
from bench.simulator.blocks import BlockCache
from bench.simulator.sequence import Phase, Sequence


class Transfers:
    """Prompts on their way in, and finished ones kept for others."""

    def __init__(self, cache: BlockCache, block_size: int) -> None:
        self._cache, self._size = cache, block_size
        self.fetching: dict[Sequence, None] = {}
        self.fetched: dict[Sequence, None] = {}
        """Ready for the batch, in the order in which they became so."""
        self.kept: dict[Sequence, None] = {}
        self.queries = 0
        self.hits = 0
        """Both in tokens: what was not in the own cache, and what of that another engine was to give."""

    def begin(self, sequence: Sequence) -> None:
        """Give a placed sequence blocks for its whole prompt; it now waits for their contents."""
        holdings.extend(self._cache, sequence, sequence.target, self._size)
        sequence.fetch = False
        sequence.phase = Phase.FETCHING
        self.fetching[sequence] = None

    def complete(self, sequence: Sequence) -> bool:
        """The contents are there; False when nobody waits for them any more."""
        if sequence.phase is not Phase.FETCHING:
            return False
        del self.fetching[sequence]
        # One token is computed again, or there would be nothing to sample from.
        sequence.computed = sequence.target - 1
        sequence.phase = Phase.FETCHED
        self.fetched[sequence] = None
        return True

    def drop(self, sequence: Sequence) -> None:
        """Give up one that is or was on its way."""
        self.fetching.pop(sequence, None)
        self.fetched.pop(sequence, None)
        holdings.vacate(self._cache, sequence)

    def keep(self, sequence: Sequence) -> None:
        """Hold on to the blocks of a sequence that has ended."""
        self.kept[sequence] = None

    def release(self, sequence: Sequence) -> bool:
        """Let go of kept blocks; False when that was done already."""
        if sequence not in self.kept:
            return False
        del self.kept[sequence]
        holdings.vacate(self._cache, sequence)
        return True
