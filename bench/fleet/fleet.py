"""What a run happens on: engines, pickers, what those see and how late, and what goes wrong when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from bench.simulator.config import EngineConfig, TransferConfig

ENGINE: Final = EngineConfig(block_size=64, num_blocks=4375, max_loras=4)
"""The simulator's replica, Qwen3-32B on two H100, in larger blocks: a fourth of the work to simulate it."""

Happening = Literal["dies", "joins", "slows"]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens to a replica at a time.

    `dies`: what is there fails, as does what comes. `joins`: an empty engine is there from now on (it is not
    there before, unless it dies first). `slows`: each step takes `factor` times as long as configured.
    """

    at: float
    replica: int
    what: Happening
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.what == "slows" and not self.factor > 0.0:
            raise ValueError(f"an incident slows a replica by {self.factor}; it must be more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Times in virtual seconds."""

    name: str
    engines: tuple[EngineConfig, ...]
    pickers: int = 1
    """Side by side, each with a table, a ledger and an index of its own; requests come to any of them."""
    scrape_interval: float = 0.05
    """Between two readings of a replica's metrics; 0: they are never old. The default is the reference's."""
    stale_after: float = 2.0
    """Age from which pickers do not count a reading any more."""
    detection: float = 3.0
    """How long a replica that has died stays in the list of endpoints."""
    wrong_blocks: float = 0.0
    """Share of its blocks about which the pickers' index of prefixes errs, 0..1 (see `wrong`)."""
    event_delay: float = 0.0
    """After which those who are fed by events know what a cache has stored or removed; 0: at once."""
    incidents: tuple[Incident, ...] = field(default=())
    roles: tuple[str, ...] = ()
    """What pickers are told that each engine does, such as `prefill`; empty: nothing. Engines do whatever
    they are asked."""
    transfer: TransferConfig = field(default_factory=TransferConfig)
    """How a prompt's KV entries get from who computes it to who decodes."""

    def __post_init__(self) -> None:
        if not self.engines or self.pickers < 1:
            raise ValueError(
                f"{len(self.engines)} replicas and {self.pickers} pickers; have 1 or more of each"
            )
        if not 0.0 <= self.wrong_blocks <= 1.0:
            raise ValueError(f"wrong_blocks is {self.wrong_blocks}; it must be a share from 0 to 1")
        if min(self.scrape_interval, self.detection, self.event_delay) < 0.0:
            raise ValueError("scrape_interval, detection and event_delay must be 0 or more seconds")
        if self.roles and len(self.roles) != len(self.engines):
            raise ValueError(f"{len(self.roles)} roles for {len(self.engines)} replicas; give each its own")
        strangers = {each.replica for each in self.incidents} - set(range(len(self.engines)))
        if strangers:
            raise ValueError(
                f"incidents of replica {min(strangers)}; there are {len(self.engines)}, from 0 on"
            )

    @property
    def begins_with(self) -> list[int]:
        """Replicas that are there from the start: those whose first incident is not that they join."""
        first = {each.replica: each.what for each in sorted(self.incidents, key=lambda each: -each.at)}
        return [number for number in range(len(self.engines)) if first.get(number) != "joins"]


def slowed(engine: EngineConfig, factor: float) -> EngineConfig:
    """The same, but each step takes `factor` times as long."""
    return replace(
        engine,
        fixed_s=engine.fixed_s * factor,
        prefill_token_s=engine.prefill_token_s * factor,
        decode_sequence_s=engine.decode_sequence_s * factor,
        cached_token_s=engine.cached_token_s * factor,
    )


def prefill_seconds(engine: EngineConfig, tokens: int, cached: int = 0) -> float:
    """What an idle engine takes for a prompt of which it holds so much, in chunks of its token budget."""
    whole, rest = divmod(tokens - cached, engine.max_num_batched_tokens)
    chunks = whole + (rest > 0)
    # Each chunk reads what has been computed before it.
    read = chunks * cached + engine.max_num_batched_tokens * (chunks * (chunks - 1) // 2)
    return chunks * engine.fixed_s + (tokens - cached) * engine.prefill_token_s + read * engine.cached_token_s


def uniform(replicas: int, engine: EngineConfig = ENGINE) -> Fleet:
    """All alike."""
    return Fleet(name="uniform", engines=(engine,) * replicas)


def mixed_speed(replicas: int, engine: EngineConfig = ENGINE) -> Fleet:
    """Every other one at half the speed."""
    return Fleet(name="mixed-speed", engines=_alternating(replicas, engine, slowed(engine, 2.0)))


def mixed_memory(replicas: int, engine: EngineConfig = ENGINE) -> Fleet:
    """Every other one with half the memory."""
    small = replace(engine, num_blocks=engine.num_blocks // 2)
    return Fleet(name="mixed-memory", engines=_alternating(replicas, engine, small))


def prefill_decode(replicas: int, engine: EngineConfig = ENGINE) -> Fleet:
    """Every other one computes prompts, for the others to decode. Raises ValueError for less than two."""
    if replicas < 2:
        raise ValueError(f"{replicas} replica cannot share prefill and decode; have 2 or more")
    roles = tuple(("prefill", "decode")[number % 2] for number in range(replicas))
    return Fleet(name="prefill-decode", engines=(engine,) * replicas, roles=roles)


def _alternating(count: int, one: EngineConfig, other: EngineConfig) -> tuple[EngineConfig, ...]:
    return tuple(other if number % 2 else one for number in range(count))


FLEETS: Final[Mapping[str, Callable[[int, EngineConfig], Fleet]]] = {
    "uniform": uniform,
    "mixed-speed": mixed_speed,
    "mixed-memory": mixed_memory,
    "prefill-decode": prefill_decode,
}
"""Name → the fleet of so many replicas that are made from an engine."""
