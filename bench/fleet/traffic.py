"""What clients ask for: lengths, and which text prompts have in common; no text yet."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Request:
    """One question and how long its answer is."""

    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    """Ids of the blocks of the prompt and, where it is known, of the answer. An id stands for all the text
    up to its end: where two requests have the same one, they have the same text up to there."""
    arrival: float = 0.0
    """Seconds after the start; of the first request of a conversation only."""
    think: float = 0.0
    """Seconds between the end of the answer before it and this request."""
    session: str = ""
    adapter: str = ""
    """LoRA adapter; empty: the base model."""
    number: int = -1
    """Its place in the workload; who makes a request need not give it."""


Session = tuple[Request, ...]
"""A conversation: each request but the first waits for the answer to the one before."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Conversations. A request on its own is one of length 1."""

    name: str
    sessions: tuple[Session, ...]
    block_tokens: int
    """Tokens of a block of ids; the last block of a prompt may be cut off."""

    @classmethod
    def of(cls, name: str, sessions: Iterable[Sequence[Request]], block_tokens: int) -> "Workload":
        """Number the requests."""
        numbered, number = [], 0
        for session in sessions:
            turns = []
            for turn in session:
                turns.append(replace(turn, number=number))
                number += 1
            numbered.append(tuple(turns))
        return cls(name, tuple(numbered), block_tokens)

    def __len__(self) -> int:
        return sum(map(len, self.sessions))

    def __iter__(self) -> Iterator[Request]:
        """All requests, by number."""
        return (request for session in self.sessions for request in session)
