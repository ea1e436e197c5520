"""Small fleets and workloads for tests."""

from collections.abc import Sequence

from bench.fleet.driver import simulate
from bench.fleet.fleet import Fleet
from bench.fleet.outcome import Outcome
from bench.fleet.policy import PolicySpec
from bench.fleet.roster import find
from bench.fleet.traffic import Request, Workload
from bench.simulator.config import EngineConfig

BLOCK = 16
ENGINE = EngineConfig(block_size=16, num_blocks=400, max_num_seqs=16, max_num_batched_tokens=512, max_loras=2)


def fleet(replicas: int = 1, engine: EngineConfig = ENGINE, **changes: object) -> Fleet:
    return Fleet(name="test", engines=(engine,) * replicas, **changes)  # type: ignore[arg-type]


def request(
    prompt: int, output: int, *, at: float = 0.0, first: int = 0, think: float = 0.0, adapter: str = ""
) -> Request:
    """Its blocks are counted from `first` on."""
    blocks = range(first, first + -(-(prompt + output) // BLOCK))
    return Request(prompt, output, tuple(blocks), arrival=at, think=think, adapter=adapter)


def singles(*requests: Request) -> Workload:
    return Workload.of("test", [[each] for each in requests], BLOCK)


def run(where: Fleet, what: Workload, policy: str | PolicySpec = "round-robin", *, seed: int = 1) -> Outcome:
    return simulate(where, what, find(policy) if isinstance(policy, str) else policy, seed)


def stream(count: int, *, every: float, prompt: int = 160, output: int = 20) -> Sequence[Request]:
    """Requests without anything in common, evenly in time."""
    return [request(prompt, output, at=number * every, first=number * 10_000) for number in range(count)]
