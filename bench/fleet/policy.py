"""Who chooses: what a policy is told, what it may know of the fleet, and how one is named."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Protocol

from bench.fleet.events import Events, LateCaches
from bench.fleet.replica import Replica
from bench.fleet.traffic import Request
from bench.simulator.sequence import Sequence as EngineSequence

FOLDER: Final = Path(__file__).parent / "policies"


class Policy(Protocol):
    """Chooses replicas. Each picker has one of its own; all see the same world."""

    def choose(self, request: Request) -> int:
        """Number of the replica that is to serve it. Raises a Refusal when none shall."""

    def prefiller(self, request: Request) -> int | None:
        """Number of the replica that is to compute its prompt for the one chosen; None: that one does."""

    def prefilled(self, request: Request) -> None:
        """Its prompt has been computed there. A proxy beside the engine that decodes knows it, and only a
        picker that is itself in its place does."""

    def not_prefilled(self, request: Request) -> None:
        """It has not, and whoever serves the request computes it; known to the same."""

    def first_token(self, request: Request) -> None:
        """The first token of its answer has passed."""

    def end(self, request: Request, served: EngineSequence) -> None:
        """The whole answer has passed."""

    def failed(self, request: Request, status: int) -> None:
        """It ends with this status of HTTP instead of an answer; 0: its answer breaks off."""

    def members(self, replicas: Sequence[int]) -> None:
        """These are in the list of endpoints from now on; told at the start, too."""


class World:
    """The truth. A policy of the bench looks only at what the router that it stands for would know."""

    def __init__(self, replicas: Sequence[Replica], block_tokens: int, event_delay: float = 0.0) -> None:
        """`event_delay`: seconds until somebody hears what a cache has stored or removed."""
        self.now = 0.0
        """Virtual seconds."""
        self.replicas = replicas
        self.block_tokens = block_tokens
        """Tokens of a block of the requests' ids."""
        self.events = Events(replicas, event_delay, self.clock)
        """Where an index subscribes that is fed by them."""
        self._late = LateCaches(self.events, len(replicas)) if event_delay else None

    def cached(self, replica: int, hashes: Iterable[int]) -> int:
        """How many of these blocks a replica's cache begins with, as far as events have told."""
        if self._late is not None:
            return self._late.match(replica, hashes)
        return self.replicas[replica].engine.cache.match(hashes)

    def clock(self) -> float:
        return self.now


class Maker(Protocol):
    """Makes a policy of the bench."""

    def __call__(self, world: World, rng: Random) -> Policy: ...


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy by name, so that it can be sent to another process."""

    name: str
    baseline: bool = False
    """Whether it is one of the bench's own (see `baselines`, `rivals`)."""
    config: str = ""
    """Text of an EndpointPickerConfig; empty means the picker's default profile."""
