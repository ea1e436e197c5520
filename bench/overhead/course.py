"""The order of the measurements: round by round, and within a round from side to side."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from bench.overhead import filling, measuring, meter
from bench.overhead.ground import TRANSPORTS, WITHOUT, Fleet, Side, fleet, seconds_to_start, sides
from bench.overhead.load import Outcome
from bench.overhead.measuring import Lengths, Traffic
from bench.overhead.show import Show

T = TypeVar("T")

FEW: Final = 10
MANY: Final = 100
"""Endpoints of the pool."""
SETTLE_SECONDS: Final = 1.0
"""Connections are made and first pages read before anything is counted."""
HELD: Final = "llm_d_epp_prefix_indexer_size"

START_SECONDS: Final = 2.5
FILL_SECONDS: Final = 25.0
OVERHEAD_SECONDS: Final = 0.5
"""Estimates, for the bar alone."""


@dataclass(slots=True)
class Readings:
    """All that was measured, as it came."""

    outcomes: dict[str, dict[str, list[Outcome]]] = field(default_factory=lambda: defaultdict(dict))
    """Traffic, with the endpoints behind `long` → side → one a round."""
    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(dict))
    """Anything else → side → one a round."""

    def note(self, what: str, side: str, value: float) -> None:
        self.values[what].setdefault(side, []).append(value)

    def count(self, what: str, side: str, outcome: Outcome) -> None:
        self.outcomes[what].setdefault(side, []).append(outcome)


class Course:
    """One run of all measurements."""

    def __init__(self, folder: Path, lengths: Lengths, show: Show) -> None:
        self.readings = Readings()
        self._folder = folder
        self._lengths = lengths
        self._show = show

    async def run(self) -> Readings:
        """Raises Failed when a program does not do its part."""
        async with fleet(self._folder, MANY) as everybody:
            few = everybody.replicas[:FEW]
            await self._starts(few)
            async with sides(self._folder, (*TRANSPORTS, WITHOUT), few) as ways:
                for turn in range(self._lengths.rounds):
                    await self._small_round(everybody, ways, turn)
            async with sides(self._folder, TRANSPORTS, everybody.replicas) as ways:
                await self._idle(ways, MANY)
                await self._fill(ways, everybody.replicas)
                for turn in range(self._lengths.rounds):
                    await self._large_round(everybody, ways, turn)
        return self.readings

    async def _starts(self, replicas: Sequence[str]) -> None:
        for turn in range(self._lengths.rounds):
            async with self._show.step("import", 1.0):
                self.readings.note("import", TRANSPORTS[0], await measuring.seconds_to_import())
            for transport in _turned(TRANSPORTS, turn):
                async with self._show.step(f"start, {transport}", START_SECONDS):
                    seconds = await seconds_to_start(self._folder / "starts", transport, replicas)
                self.readings.note("start", transport, seconds)

    async def _small_round(self, everybody: Fleet, ways: list[Side], turn: int) -> None:
        asking = [side for side in ways if side.picker is not None]
        await self._idle(asking, FEW)
        traffics: tuple[Traffic, ...] = ("closed", "paced", "streams")
        for traffic in traffics:
            for side in _turned(ways, turn):
                await self._take(everybody, side, traffic, traffic, turn)
        for side in _turned(asking, turn):
            await self._take(everybody, side, "long", f"long_{FEW}", turn)

    async def _large_round(self, everybody: Fleet, ways: list[Side], turn: int) -> None:
        await self._idle(ways, MANY)
        for side in _turned(ways, turn):
            await self._take(everybody, side, "long", f"long_{MANY}", turn)

    async def _take(self, everybody: Fleet, side: Side, traffic: Traffic, key: str, turn: int) -> None:
        seconds = self._lengths.warm_up + getattr(self._lengths, traffic) + OVERHEAD_SECONDS
        async with self._show.step(f"{key}, {side.name}", seconds):
            outcome = await measuring.take(everybody, side, traffic, self._lengths, seed=turn)
        self.readings.count(key, side.name, outcome)

    async def _idle(self, ways: Sequence[Side], endpoints: int) -> None:
        async with self._show.step(f"idle, {endpoints} endpoints", self._lengths.idle):
            cores = await measuring.idle(ways, self._lengths.idle)
        for side, value in zip(ways, cores, strict=True):
            self.readings.note(f"idle_{endpoints}", side.name, value)

    async def _fill(self, ways: Sequence[Side], replicas: Sequence[str]) -> None:
        """All at the same time: the figure is their memory, and a core would be left over."""
        pickers = {side.name: side.picker for side in ways if side.picker is not None}
        self._weigh("memory_start", ways)
        async with self._show.step("fill the indexes", FILL_SECONDS):
            await asyncio.gather(*(filling.fill(each.grpc_port, replicas) for each in pickers.values()))
        self._weigh("memory", ways)
        for name, picker in pickers.items():
            held = await picker.sum_of(HELD)
            self.readings.note("index_full", name, held / (filling.CAPACITY * len(replicas)))

    def _weigh(self, what: str, ways: Sequence[Side]) -> None:
        for side in ways:
            self.readings.note(what, side.name, meter.resident_mib(side.picker_pid))


def _turned(items: Sequence[T], turn: int) -> list[T]:
    """The items from another one on in each turn, so that nobody is always the first."""
    at = turn % len(items)
    return [*items[at:], *items[:at]]


def estimate(lengths: Lengths) -> float:
    """Seconds that a course takes, for the bar."""
    each = lengths.warm_up + OVERHEAD_SECONDS
    small = len(TRANSPORTS) + 1
    start = 1.0 + len(TRANSPORTS) * START_SECONDS
    few = lengths.idle + small * (3 * each + lengths.closed + lengths.paced + lengths.streams)
    long = len(TRANSPORTS) * (each + lengths.long)
    rounds = lengths.rounds * (start + few + long + lengths.idle + long)
    return rounds + lengths.idle + FILL_SECONDS
