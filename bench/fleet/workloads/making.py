"""What all generators need: an order, block ids, arrivals, lengths."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

BLOCK: Final = 64
"""Tokens of a block of ids."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted."""

    name: str
    rate: float
    """Requests a second, on average."""
    requests: int
    seed: int
    trace: Path | None = None
    """The file that it is made from."""

    def __post_init__(self) -> None:
        if not self.rate > 0.0 or self.requests < 1:
            raise ValueError(f"{self.requests} requests at {self.rate} a second; both must be more than 0")

    def rng(self) -> Random:
        return Random(f"{self.seed}/{self.name}")


class Ids:
    """Block ids that nobody has had before."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, tokens: int, block: int = BLOCK) -> tuple[int, ...]:
        """For a text of so many tokens."""
        first, self._next = self._next, self._next + -(-tokens // block)
        return tuple(range(first, self._next))


def poisson(rng: Random, rate: float) -> Iterator[float]:
    """Times of arrival without end."""
    now = 0.0
    while True:
        now += rng.expovariate(rate)
        yield now


def pulsing(rng: Random, rate: float, *, times: float, share: float, period: float) -> Iterator[float]:
    """The same on average, but `times` as dense in the first `share` of each period (seconds)."""
    calm = rate / (1.0 - share + share * times)
    for now in poisson(rng, calm * times):
        if now % period < share * period or rng.random() < 1.0 / times:
            yield now


def about(rng: Random, median: float, *, spread: float, least: int = 1, most: int = 100_000) -> int:
    """A length: log-normal, two thirds of all within a factor e^spread of the median."""
    return min(max(round(rng.lognormvariate(math.log(median), spread)), least), most)


def ranks(count: int, power: float = 1.0) -> list[float]:
    """Weights of `count` things of which a few are asked for most (Zipf)."""
    return [1.0 / (place + 1) ** power for place in range(count)]
