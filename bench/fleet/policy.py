"""Who chooses: what a policy is told, what it may know of the fleet, and how one is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Protocol

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
    """The truth. A policy of the bench looks only at what the router that it stands for would know.

    What caches hold is looked up here, as if events came at once. An index that is fed by events would be
    told of them by one more method of `Policy`, a while after `BlockCache.publish` and `BlockCache.reserve`.
    """

    def __init__(self, replicas: Sequence[Replica], block_tokens: int) -> None:
        self.now = 0.0
        """Virtual seconds."""
        self.replicas = replicas
        self.block_tokens = block_tokens
        """Tokens of a block of the requests' ids."""

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
