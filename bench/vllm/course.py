"""The same conversations with each side, round by round."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.replay import Outcome, Replay
from bench.traffic import Shape, sessions
from bench.vllm.engine import Counters, counters
from bench.vllm.gateway import SIDES, Side, gateway

SETTLE_SECONDS: Final = 10.0
"""The engine's counters follow its answers."""
STEP_SECONDS: Final = 0.1
GREEDY: Final = {"temperature": 0}
"""Answers are part of what is asked next, so they are to be the same on both sides."""


class Replicas(Protocol):
    """What serves the requests, in all runs."""

    model: str

    @property
    def places(self) -> Sequence[str]:
        """Where they are (`ip:port`)."""

    @property
    def words(self) -> Sequence[str]:
        """What prompts are made of: each is a token."""

    async def renewed(self) -> float:
        """Forget all prompts; answers the seconds that a long one took just before, on replicas at rest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    rounds: int
    seed: int
    """Of the first round; each one has conversations of its own."""
    shape: Shape
    config_file: Path | None = None
    """The picker's configuration; its own default where there is none."""


@dataclass(frozen=True, slots=True)
class Served:
    """What one replica did in a run, by its own count."""

    requests: int
    queries: int
    """Tokens of prompts that it looked up in its prefix cache."""
    hits: int
    """Those of them that it had."""


@dataclass(frozen=True, slots=True)
class Run:
    """Some conversations with one side."""

    number: int
    """Of the round."""
    side: Side
    outcome: Outcome
    replicas: tuple[Served, ...]
    alone: float
    """What `renewed` answered: runs in which it differs were on a machine that was busy otherwise."""


def order(rounds: int) -> list[tuple[int, Side]]:
    """Rounds and sides; each side is first in every other round."""
    sides = list(SIDES)
    return [(number, side) for number in range(rounds) for side in sides[:: -1 if number % 2 else 1]]


def heading(number: int, side: Side) -> str:
    return f"round {number + 1}, {SIDES[side]}"


async def runs(
    plan: Plan, replicas: Replicas, folder: Path, begins: Callable[[str], Callable[[], None]]
) -> AsyncIterator[Run]:
    """One after the other; logs go to the folder. `begins` is told the heading of each, and says what to
    call at each of its answers."""
    for number, side in order(plan.rounds):
        on_answer = begins(heading(number, side))
        chats = list(sessions(plan.shape, plan.seed + number, replicas.words))
        alone = await replicas.renewed()
        before = await _read(replicas.places)
        name = f"{side}-{number + 1}"
        async with gateway(side, folder, name, replicas.places, plan.config_file) as stage:
            replay = Replay(stage.url, replicas.model, plan.shape.answer_tokens, on_answer, GREEDY)
            outcome = await replay.run(chats)
        served = await _served(replicas.places, before, outcome.requests - outcome.errors)
        yield Run(number, side, outcome, served, alone)


async def _served(places: Sequence[str], before: Sequence[Counters], answered: int) -> tuple[Served, ...]:
    """What each has done since; waits until they have counted all of their answers."""
    for _ in range(round(SETTLE_SECONDS / STEP_SECONDS)):
        served = tuple(map(_risen, before, await _read(places)))
        if sum(each.requests for each in served) >= answered:
            break
        await asyncio.sleep(STEP_SECONDS)
    return served


def _risen(before: Counters, after: Counters) -> Served:
    names = ("request_success", "prefix_cache_queries", "prefix_cache_hits")
    return Served(*(after(name) - before(name) for name in names))


async def _read(places: Sequence[str]) -> list[Counters]:
    return await asyncio.gather(*map(counters, places))
