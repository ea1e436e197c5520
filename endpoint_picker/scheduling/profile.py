"""A scheduling profile: filters in listed order, weighted scorers, one picker.

A plugin that fails never fails the request: whatever it raises, or answers in a wrong shape, is logged
once in a while under its name and counted, and the profile goes on as if it had nothing to say.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import numpy as np

from endpoint_picker.core.decision import ProfileResult
from endpoint_picker.core.endpoints import Candidates, Rows, Vector
from endpoint_picker.core.errors import REJECTED_SATURATED, ResourceExhausted
from endpoint_picker.core.request import Request
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.plugin import Filter, Picker, Scorer, Wiring

log = logging.getLogger(__name__)

# Arrays, since a ufunc takes longer to convert a Python float than to clamp ten scores.
_LOWEST: Final = np.array(0.0)
_HIGHEST: Final = np.array(1.0)


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
        self._weights: Vector = np.array([scoring.weight for scoring in scorers], np.float64).reshape(-1, 1)
        self._clock: Callable[[], float] = wiring.clock
        self._complaints = Sparse(log, clock=wiring.clock)
        self._metrics = wiring.metrics
        timer = self._metrics.plugin_timer
        self._filter_timers = [timer("Filter", step.type, step.name) for step in filters]
        self._scorer_timers = [timer("Scorer", step.type, step.name) for step in scorers]
        self._picker_timer = timer("Picker", picker.type, picker.name)

    def run(self, request: Request, candidates: Candidates) -> ProfileResult:
        """Filter, score, pick. Raises ResourceExhausted when no candidate is left."""
        for keeping, told in zip(self.filters, self._filter_timers, strict=True):
            if not len(candidates):
                break
            started = self._clock()
            candidates = self._keep(keeping, request, candidates)
            told(self._clock() - started)
        if not len(candidates):
            raise ResourceExhausted("no endpoints available for the given request", reason=REJECTED_SATURATED)
        totals = self._totals(request, candidates)
        rows = self._pick(request, candidates, totals)
        endpoints = tuple(map(candidates.table.__getitem__, rows))
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
        """Shape (n,). All scores are clamped, weighed and summed in one pass over a matrix."""
        found, now = [], self._clock()
        for scoring, told in zip(self.scorers, self._scorer_timers, strict=True):
            found.append(self._score(scoring, request, candidates))
            started, now = now, self._clock()
            told(now - started)
        scores = np.array(found, np.float64).reshape(len(found), len(candidates))
        # The maximum is NaN if one of them is; its place is found in a fifth of the time of `isnan().any()`.
        if scores.size and isnan(scores.item(scores.argmax())):
            self._tell_of_nan(scores, request)
        # fmax takes the number where the other is NaN; after it fmin, which takes a fifth of the time that
        # minimum does.
        np.fmax(scores, _LOWEST, out=scores)
        np.fmin(scores, _HIGHEST, out=scores)
        scores *= self._weights
        # Row after row, and not a matrix product: that may round equal columns differently, and a
        # tie would no longer be one.
        totals: Vector = np.add.reduce(scores, axis=0)
        return totals

    def _score(self, scoring: Scoring, request: Request, candidates: Candidates) -> Vector:
        try:
            scores = scoring.scorer.score(request, candidates)
            _check(scores, len(candidates), "f", "scores")
            return scores
        except Exception:
            self._failed(scoring, request, "Scorer", "failed and gives 0 to all")
            return np.zeros(len(candidates))

    def _tell_of_nan(self, scores: Vector, request: Request) -> None:
        """NaN counts as 0, but whoever wrote the scorer wants to know."""
        for index in np.flatnonzero(np.isnan(scores).any(axis=1)).tolist():
            self._failed(
                self.scorers[index], request, "Scorer", "has NaN among its scores, which counts as 0"
            )

    def _pick(self, request: Request, candidates: Candidates, totals: Vector) -> tuple[int, ...]:
        picking, started = self.picker, self._clock()
        try:
            return _picked(picking.picker.pick(request, candidates, totals), candidates.rows)
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


def _picked(rows: Any, candidates: Rows) -> tuple[int, ...]:
    """The rows without repetitions. Raises when there is none, or one that is no candidate."""
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "i" or rows.ndim != 1 or not rows.size:
        raise TypeError("answered something else than a list of rows")
    # Candidates are in row order. A row beyond the last one raises IndexError: as wrong as the others.
    picked: list[int] = rows.tolist()
    if candidates[candidates.searchsorted(rows)].tolist() != picked:
        raise ValueError("picked a row that is no candidate")
    return tuple(picked) if len(picked) == 1 else tuple(dict.fromkeys(picked))
