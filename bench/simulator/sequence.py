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
    PREFILL = 1
    DECODE = 2
    FINISHED = 3
    ABORTED = 4


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt and how many tokens to generate after it."""

    prompt_tokens: int
    output_tokens: int
    hashes: list[int] = field(default_factory=list)
    """Block hashes of the prompt and, where known, of the output; blocks beyond are not shared."""
    adapter: str = ""

    arrived: float = 0.0
    """Times are in virtual seconds; the engine writes them."""
    scheduled: float = -1.0
    first_token: float = -1.0
    paused: float = 0.0
    """When the last preemption took it out of the batch."""
    cached: int = 0
    """Prompt tokens found in the cache at the first admission."""
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
