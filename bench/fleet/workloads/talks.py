"""Conversations: each prompt is all that was said before, and a question more.

The next question comes a while after the answer has ended, whenever that is: who is served slowly asks later.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from bench.fleet.traffic import Request, Session, Workload
from bench.fleet.workloads.making import BLOCK, Ids, Order, about, poisson


@dataclass(frozen=True, slots=True)
class Manner:
    """How they talk; lengths in tokens, medians where a spread belongs to them."""

    turns: float
    """On average."""
    systems: int
    """Different beginnings."""
    system: int
    """Tokens of each; a multiple of the block."""
    opening: int
    """The first question, which may bring a document."""
    question: int
    answer: int
    think: float
    """Seconds between an answer and the next question, on average."""
    most: int = 100_000
    """Tokens at which a conversation ends."""


PEOPLE: Final = Manner(
    turns=6, systems=8, system=1024, opening=600, question=200, answer=300, think=15.0, most=32_000
)
PROGRAMS: Final = Manner(
    turns=25, systems=4, system=3072, opening=4000, question=900, answer=90, think=2.0, most=100_000
)


def chat(order: Order) -> Workload:
    """People who read before they go on."""
    return _talks(order, PEOPLE)


def agentic(order: Order) -> Workload:
    """Programs that call tools and send what those said: contexts of tens of thousands of tokens."""
    return _talks(order, PROGRAMS)


def _talks(order: Order, manner: Manner) -> Workload:
    """They begin at random times, so that their requests come at the rate that was ordered."""
    rng, ids = order.rng(), Ids()
    systems = [ids.take(manner.system) for _ in range(manner.systems)]
    sessions: list[Session] = []
    missing = order.requests
    for time in poisson(rng, order.rate / manner.turns):
        turns = min(missing, 1 + _geometric(rng, manner.turns - 1.0))
        name = f"session-{len(sessions)}"
        sessions.append(_talk(rng, ids, manner, rng.choice(systems), time, turns, name))
        missing -= len(sessions[-1])
        if not missing:
            break
    return Workload.of(order.name, sessions, BLOCK)


def _talk(
    rng: Random, ids: Ids, manner: Manner, system: tuple[int, ...], time: float, turns: int, name: str
) -> Session:
    blocks, said = list(system), len(system) * BLOCK
    requests: list[Request] = []
    for turn in range(turns):
        asked = about(rng, manner.question if turn else manner.opening, spread=0.7, most=20_000)
        answer = about(rng, manner.answer, spread=0.6, most=4000)
        if turn and said + asked + answer > manner.most:
            break
        blocks += ids.take(max(0, said + asked + answer - len(blocks) * BLOCK))
        requests.append(
            Request(
                prompt_tokens=said + asked,
                output_tokens=answer,
                blocks=tuple(blocks),
                arrival=0.0 if turn else time,
                think=rng.expovariate(1.0 / manner.think) if turn else 0.0,
                session=name,
            )
        )
        said += asked + answer
    return tuple(requests)


def _geometric(rng: Random, mean: float) -> int:
    """0, 1, 2 …, each less likely than the one before."""
    count = 0
    while rng.random() < mean / (mean + 1.0):
        count += 1
    return count
