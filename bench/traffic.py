"""Seeded multi-turn chat: shared system prompts, growing histories, people who read before they answer."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

VOCABULARY: Final = (
    "harbour lantern copper meadow signal winter engine pepper ribbon anchor velvet thunder orchard "
    "marble compass feather granite whistle saffron timber"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How much traffic, and what it looks like."""

    sessions: int = 64
    turns: int = 6
    system_prompts: int = 8
    """How many different system prompts the sessions share."""
    system_words: int = 1000
    document_words: int = 0
    """What each session's first question is about; it stands before the question."""
    question_words: int = 500
    answer_tokens: int = 48
    think_seconds: float = 1.5
    """Mean time between an answer and the next question."""
    spread_seconds: float = 14.0
    """Sessions begin evenly at random within this time."""


@dataclass(frozen=True, slots=True)
class Session:
    """One person's chat."""

    begins_at: float
    """Seconds after the start of the replay."""
    system: str
    questions: tuple[str, ...]
    pauses: tuple[float, ...]
    """Seconds before each question, the first one aside."""


def sessions(shape: Shape, seed: int, words: Sequence[str] = tuple(VOCABULARY.split())) -> Iterator[Session]:
    """The same sessions for the same seed, of these words."""
    rng = random.Random(seed)

    def text(length: int) -> str:
        return " ".join(rng.choices(words, k=length))

    systems = [text(shape.system_words) for _ in range(shape.system_prompts)]
    lengths = (shape.document_words + shape.question_words, *[shape.question_words] * (shape.turns - 1))
    for _ in range(shape.sessions):
        yield Session(
            begins_at=rng.uniform(0.0, shape.spread_seconds),
            system=rng.choice(systems),
            questions=tuple(map(text, lengths)),
            pauses=tuple(rng.expovariate(1.0 / shape.think_seconds) for _ in range(shape.turns - 1)),
        )
