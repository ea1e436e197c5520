"""The blocks of one sequence, from the first that it takes to the last that it gives back.

A sequence holds them in the batch, and beside it: while KV entries come in from another engine, and after its
end, until another engine has fetched them.
"""

from itertools import islice

from bench.simulator.blocks import BlockCache
from bench.simulator.sequence import Sequence


def found(cache: BlockCache, sequence: Sequence, size: int) -> list[int] | None:
    """Hashes of the resident blocks that the prompt begins with; None when the whole prompt has no room."""
    # The last token is always computed, or there would be nothing to sample from.
    hits = cache.match(islice(sequence.hashes, (sequence.target - 1) // size))
    shared = sequence.hashes[:hits]
    if -(-sequence.target // size) - cache.held(shared) > cache.free:
        return None
    return shared


def take(cache: BlockCache, sequence: Sequence, shared: list[int], size: int) -> None:
    """Begin with these resident blocks."""
    cache.take(shared)
    sequence.shared = shared
    sequence.blocks = sequence.published = len(shared)
    sequence.computed = len(shared) * size


def extend(cache: BlockCache, sequence: Sequence, upto: int, size: int) -> None:
    """Take what `upto` tokens need, for which there is room."""
    missing = -(-upto // size) - sequence.blocks
    cache.reserve(missing)
    sequence.blocks += missing


def publish(cache: BlockCache, sequence: Sequence, full: int) -> None:
    """Offer the sequence's first `full` blocks to others."""
    for key in sequence.hashes[sequence.published : full]:
        if cache.publish(key):
            sequence.shared.append(key)
    sequence.published = max(sequence.published, full)


def vacate(cache: BlockCache, sequence: Sequence) -> None:
    """Give all back; full blocks stay resident for others until they are evicted."""
    cache.release(sequence.shared, sequence.blocks - len(sequence.shared))
    sequence.shared = []
    sequence.blocks = sequence.published = sequence.computed = 0
