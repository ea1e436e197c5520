"""What a reader wants first: how far ours is ahead of the reference's better policy, and where it is not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.routing.intervals import Interval
from bench.routing.sheet import FIGURES, LoadSheet, SceneSheet

JUDGED: Final = ("goodput", "attained", "ttft_p90")


@dataclass(frozen=True, slots=True)
class Line:
    """One scene at one load: where the reference is in trouble if that was looked for, else the highest."""

    scene: SceneSheet
    load: LoadSheet

    def pair(self, key: str) -> tuple[Interval, Interval]:
        """The reference's, ours."""
        assert self.load.reference is not None
        assert self.scene.ours is not None
        return self.load.policies[self.load.reference][key], self.load.policies[self.scene.ours][key]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure in one scene at one load, where the interval of the differences says who is ahead."""

    scene: str
    load: str
    figure: str
    reference: str
    difference: Interval
    ahead: bool


def lines(sheets: Sequence[SceneSheet]) -> list[Line]:
    """Of the scenes in which ours is held against a reference."""
    chosen = (Line(scene, _hard(scene.loads)) for scene in sheets if scene.loads)
    return [line for line in chosen if line.load.difference]


def verdicts(sheets: Sequence[SceneSheet]) -> list[Verdict]:
    """Wherever chance can be ruled out (with 95 %)."""
    return [
        Verdict(scene.name, load.label, key, load.reference, each, each.sign == FIGURES[key].better)
        for scene, load, key, each in _compared(sheets)
        if each.sign and load.reference is not None
    ]


def open_questions(sheets: Sequence[SceneSheet]) -> int:
    """How many comparisons leave it open."""
    return sum(not each.sign for _, _, _, each in _compared(sheets))


def _compared(sheets: Sequence[SceneSheet]) -> Iterator[tuple[SceneSheet, LoadSheet, str, Interval]]:
    for scene in sheets:
        for load in scene.loads:
            for key in JUDGED:
                if key in load.difference:
                    yield scene, load, key, load.difference[key]


def _hard(loads: Sequence[LoadSheet]) -> LoadSheet:
    return next((load for load in loads if "goodput" in load.label), loads[-1])
