"""One generation as the engine sees it: lengths and block hashes, no text.

A decoding sequence gains one token in every step, so nothing is written to it while it decodes: the number of
computed tokens is `offset` plus the engine's step number. That keeps the cost of a step apart from the
size of the batch.
"""

from dataclasses import dataclass, field
from enum import IntEnum


class Phase(IntEnum):
    """Where a sequence stands."""

    WAITING = 0
    FETCHING = 1
    """It has blocks and waits until another engine's KV entries are in them."""
    FETCHED = 2
    PREFILL = 3
    DECODE = 4
    FINISHED = 5
    """This and what follows is final."""
    ABORTED = 6
    FAILED = 7
    """Its KV entries did not come, and it was not to compute them itself."""


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt and how many tokens to generate after it."""

    prompt_tokens: int
    output_tokens: int
    hashes: list[int] = field(default_factory=list)
    """Block hashes of the prompt and, where known, of the output; blocks beyond are not shared."""
    adapter: str = ""
    fetch: bool = False
    """Whether the prompt's KV entries come from another engine; false again once that has begun."""
    keep: bool = False
    """Whether its blocks stay when it ends, for another engine to fetch."""

    arrived: float = 0.0
    """Times are in virtual seconds; the engine writes them."""
    scheduled: float = -1.0
    first_token: float = -1.0
    paused: float = 0.0
    """When the last preemption took it out of the batch."""
    cached: int = 0
    """Prompt tokens found in the cache at the first admission."""
    external: int = 0
    """Prompt tokens whose KV entries came, or are to come, from another engine."""
    looked_up: bool = False
    """Whether the two numbers above are known."""
    preemptions: int = 0

    phase: Phase = Phase.WAITING
    computed: int = 0
    """Tokens whose KV entries exist; kept only while it does not decode."""
    target: int = 0
    """Tokens to compute before the next one can be sampled."""
    offset: int = 0
    due: int = -1
    """The engine's step at which a decoding sequence needs a block or ends."""
    blocks: int = 0
    shared: list[int] = field(default_factory=list)
    published: int = 0
    """Leading full blocks that have been offered to the cache."""

    @property
    def total(self) -> int:
        """Tokens at the very end."""
        return self.prompt_tokens + self.output_tokens
