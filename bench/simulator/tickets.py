"""One sequence's progress, for the handler that waits on it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from bench.simulator.nixl import Source
from bench.simulator.sequence import Sequence


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """What a handler gives to a replica with a sequence, and what it learns."""

    sequence: Sequence
    changed: asyncio.Event
    """Set at the end, and at each token when `watched`."""
    reason: str = "length"
    """Why it will end."""
    choices: int = 1
    limit: int = 0
    """The request's `n` and `max_tokens`, for the histograms."""
    watched: bool = True
    name: str = ""
    """How other engines ask for its blocks."""
    source: Source | None = None
    """Where the prompt's KV entries are fetched, if anywhere."""

    ready: int = 0
    """Tokens that may be sent."""
    finished: bool = False
    failure: str = ""
    """Why there will be no more tokens; finished then, too."""
    handover: dict[str, Any] | None = None
    """Where the decode replica finds the kept blocks; known at the end."""
