"""A figure of a measurement, and whether it keeps its budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity, measured several times on one side or more."""

    key: str
    title: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    """Side → what each round gave."""
    budget: float | None = None
    """The most that it may be."""

    def median(self, side: str) -> float:
        return median(self.rounds[side])

    def met(self, side: str) -> bool | None:
        """Whether a side keeps the budget; None where there is none, or no figure."""
        if self.budget is None or not self.rounds.get(side):
            return None
        return self.median(side) <= self.budget

    def ratio(self, side: str, other: str) -> float | None:
        """How many times as much one side is as the other; None where that cannot be said."""
        if not self.rounds.get(side) or not self.rounds.get(other) or self.median(other) <= 0.0:
            return None
        return self.median(side) / self.median(other)

    def document(self) -> dict[str, Any]:
        """For a machine to read."""
        measured = [side for side, values in self.rounds.items() if values]
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "budget": self.budget,
            "sides": {
                side: {
                    "median": self.median(side),
                    "rounds": list(self.rounds[side]),
                    "met": self.met(side),
                }
                for side in measured
            },
        }

    def cell(self, side: str) -> str:
        """Median, and the span of the rounds where there is more than one; colour tells the verdict."""
        values = self.rounds.get(side)
        if not values:
            return ""
        span = f" [dim]({amount(min(values))}…{amount(max(values))})[/]" if len(values) > 1 else ""
        colour = {None: "default", True: "green", False: "red"}[self.met(side)]
        return f"[{colour}]{amount(self.median(side))}[/]{span}"

    def allowed(self) -> str:
        return "" if self.budget is None else f"≤ {self.budget:g} {self.unit}"


def amount(value: float) -> str:
    """A number with three figures that mean something."""
    if value == 0.0 or abs(value) >= 100.0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10.0 else f"{value:.3g}"


def verdict(met: bool | None) -> str:
    return {None: "", True: "[green]met[/]", False: "[red]MISSED[/]"}[met]
