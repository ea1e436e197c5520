"""A scheduling profile: filters in listed order, weighted scorers, one picker.

A plugin that fails never fails the request: whatever it raises, or answers in a wrong shape, is logged
once in a while under its name and counted, and the profile goes on as if it had nothing to say.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from endpoint_picker.core.decision import ProfileResult
from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.errors import REJECTED_SATURATED, ResourceExhausted
from endpoint_picker.core.request import Request
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.plugin import Filter, Picker, Scorer, Wiring

Timer = Callable[[float], None]

log = logging.getLogger(__name__)

MOST_SPACES: Final = 64
"""How many numbers of candidates have a space at hand; when there are more, all are made anew."""

_FLOATS: Final = np.dtype(np.float64)


@dataclass(frozen=True, slots=True)
class Step:
    """A plugin's place in a profile."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Keeping(Step):
    filter: Filter


@dataclass(frozen=True, slots=True)
class Scoring(Step):
    scorer: Scorer
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Picking(Step):
    picker: Picker


class _Space:
    """Where the scores of so many candidates are weighed, request after request: to make it takes longer
    than to use it. No answer may share its memory.
    """

    __slots__ = ("places", "scores", "weights")

    def __init__(self, scorers: Sequence[Scoring], timers: Sequence[Timer], size: int) -> None:
        self.scores: Vector = np.empty((len(scorers), size))
        # Of the same shape, since a product takes twice as long where a column is spread over ten candidates.
        self.weights: Vector = np.array([[scoring.weight] * size for scoring in scorers], np.float64)
        self.places = tuple(zip(self.scores, scorers, timers, strict=True))
        """Each scorer, with the row for its scores and whom to tell how long it took."""


class WeightedProfile:
    """Total of a candidate = Σ weight * score, the score clamped to 0..1 and NaN taken as 0."""

    def __init__(
        self,
        name: str,
        wiring: Wiring,
        *,
        filters: Sequence[Keeping] = (),
        scorers: Sequence[Scoring] = (),
        picker: Picking,
    ) -> None:
        self.name = name
        self.filters = tuple(filters)
        self.scorers = tuple(scorers)
        self.picker = picker
        self._spaces: dict[int, _Space] = {}
        self._clock: Callable[[], float] = wiring.clock
        self._complaints = Sparse(log, clock=wiring.clock)
        self._metrics = wiring.metrics
        timer = self._metrics.plugin_timer
        self._filters = [(step, timer("Filter", step.type, step.name)) for step in filters]
        self._scorer_timers = [timer("Scorer", step.type, step.name) for step in scorers]
        self._picker_timer = timer("Picker", picker.type, picker.name)

    def run(self, request: Request, candidates: Candidates) -> ProfileResult:
        """Filter, score, pick. Raises ResourceExhausted when no candidate is left."""
        for keeping, told in self._filters:
            if not len(candidates):
                break
            started = self._clock()
            candidates = self._keep(keeping, request, candidates)
            told(self._clock() - started)
        if not len(candidates.rows):
            raise ResourceExhausted("no endpoints available for the given request", reason=REJECTED_SATURATED)
        totals = self._totals(request, candidates)
        rows = self._pick(request, candidates, totals)
        table = candidates.table
        # Mostly it is one, and to map a function over it takes five times as long.
        endpoints = (table[rows[0]],) if len(rows) == 1 else tuple(map(table.__getitem__, rows))
        return ProfileResult(self.name, rows, endpoints, candidates.rows, totals)

    def _keep(self, keeping: Keeping, request: Request, candidates: Candidates) -> Candidates:
        try:
            mask = keeping.filter.keep(request, candidates)
            _check(mask, len(candidates), "b", "a mask")
            return candidates.where(mask)
        except Exception:
            self._failed(keeping, request, "Filter", "failed and keeps everybody")
            return candidates

    def _totals(self, request: Request, candidates: Candidates) -> Vector:
        """Shape (n,). All scores are clamped and weighed in one pass over a matrix."""
        size, clock = len(candidates.rows), self._clock
        if not self.scorers:
            return np.zeros(size)
        space, shape, now = self._space(size), (size,), clock()
        scores = space.scores
        for row, scoring, told in space.places:
            try:
                found = scoring.scorer.score(request, candidates)
                # What nearly everybody answers needs no closer look.
                if type(found) is not np.ndarray or found.dtype is not _FLOATS or found.shape != shape:
                    _check(found, size, "f", "scores")
                row[...] = found
            except Exception:
                self._failed(scoring, request, "Scorer", "failed and gives 0 to all")
                row.fill(0.0)
            started, now = now, clock()
            told(now - started)
        # Where there is NaN it is the maximum, and not in 0..1. Its place is found in a fifth of the time of
        # `max`.
        if not (scores.item(scores.argmax()) <= 1.0 and scores.item(scores.argmin()) >= 0.0):
            self._clamp(scores, request)
        np.multiply(scores, space.weights, scores)
        # Row after row, and not a matrix product: that may round equal columns differently, and a
        # tie would no longer be one.
        totals = np.zeros(size)
        for row, _, _ in space.places:
            totals += row
        return totals

    def _space(self, size: int) -> "_Space":
        found = self._spaces.get(size)
        if found is None:
            if len(self._spaces) >= MOST_SPACES:
                self._spaces.clear()
            found = self._spaces[size] = _Space(self.scorers, self._scorer_timers, size)
        return found

    def _clamp(self, scores: Vector, request: Request) -> None:
        """Bring all into 0..1. NaN counts as 0, but whoever wrote the scorer wants to know."""
        for row in np.flatnonzero(np.isnan(scores).any(axis=1)).tolist():
            self._failed(self.scorers[row], request, "Scorer", "has NaN among its scores, which counts as 0")
        # fmax takes the number where the other is NaN; after it fmin, which takes a fifth of the time that
        # minimum does.
        np.fmax(scores, 0.0, out=scores)
        np.fmin(scores, 1.0, out=scores)

    def _pick(self, request: Request, candidates: Candidates, totals: Vector) -> tuple[int, ...]:
        picking, started = self.picker, self._clock()
        try:
            return _picked(picking.picker.pick(request, candidates, totals), candidates)
        except Exception:
            self._failed(picking, request, "Picker", "failed and leaves the choice to the best total")
            return (int(candidates.rows[totals.argmax()]),)
        finally:
            self._picker_timer(self._clock() - started)

    def _failed(self, step: Step, request: Request, point: str, outcome: str) -> None:
        self._metrics.plugin_failed(point, step.type, step.name)
        tell = self._complaints.exception if sys.exc_info()[0] else self._complaints.error
        tell(
            step.name,
            "%s %s (type %s) %s; profile %s, request %s",
            point.lower(),
            step.name,
            step.type,
            outcome,
            self.name,
            request.id,
        )


def _check(found: Any, length: int, kind: str, what: str) -> None:
    """Raises TypeError unless it is an array of this kind with one element for each candidate."""
    if not isinstance(found, np.ndarray):
        raise TypeError(f"answered {type(found).__name__} instead of {what}")
    if found.dtype.kind != kind or found.shape != (length,):
        raise TypeError(
            f"answered {found.dtype}{list(found.shape)} for {length} candidates instead of {what}"
        )


def _picked(rows: Any, candidates: Candidates) -> tuple[int, ...]:
    """The rows without repetitions. Raises when there is none, or one that is no candidate."""
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "i" or rows.ndim != 1 or not rows.size:
        raise TypeError("answered something else than a list of rows")
    picked: list[int] = rows.tolist()
    for row in picked:
        if not candidates.holds(row):
            raise ValueError("picked a row that is no candidate")
    return tuple(picked) if len(picked) == 1 else tuple(dict.fromkeys(picked))
