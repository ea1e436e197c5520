"""One request in numbers, and all of them in sum."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.fleet import gaps
from bench.fleet.outcome import GOODPUT, Objective
from bench.fleet.traffic import Request
from bench.load.stream import Answer, Flaw, Kind

_QUANTILES: Final = (50, 90, 99)
_EXAMPLES: Final = 10
"""Different complaints that are told."""


@dataclass(frozen=True, slots=True)
class Record:
    """One request; seconds, NaN where there is none."""

    number: int
    """Its place in the workload."""
    due: float
    """After the start."""
    late: float
    """How long after that it was sent."""
    ttft: float
    tpot: float
    """Mean time between its tokens; 0 where there is but one."""
    whole: float
    """From sent to ended."""
    prompt_tokens: int | None
    """As the server counts; None: it does not say."""
    planned_tokens: int
    """As the workload has it."""
    output_tokens: int
    cached_tokens: int | None
    status: int
    flaw: Flaw | None
    bins: npt.NDArray[np.uint16]
    """The times between tokens, as `gaps` counts them."""

    @classmethod
    def of(cls, request: Request, answer: Answer, due: float, started: float) -> "Record":
        """`due` and the start of the run in seconds, the latter by the answer's clock."""
        told = answer.usage
        return cls(
            number=request.number,
            due=due,
            late=max(0.0, answer.sent - started - due),
            ttft=answer.first - answer.sent,
            tpot=(answer.last - answer.first) / (answer.tokens - 1) if answer.tokens > 1 else 0.0,
            whole=answer.ended - answer.sent,
            prompt_tokens=told.prompt_tokens,
            planned_tokens=request.prompt_tokens,
            output_tokens=answer.tokens,
            cached_tokens=told.cached_tokens,
            status=answer.status,
            flaw=answer.flaw,
            bins=np.fromiter(map(gaps.bin_of, answer.gaps), np.uint16),
        )

    def within(self, objective: Objective) -> bool:
        """Whether it was served as well as that."""
        return self.flaw is None and self.ttft < objective.ttft and self.tpot < objective.tpot


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is known of a run beside its records."""

    planned: int
    """Requests of the workload."""
    most_in_flight: int
    cut_off: int = 0
    """Requests under way when it was ended early."""
    warmup: float = 0.0
    """Seconds at the start whose requests do not count."""
    objective: Objective = GOODPUT


def summary(records: Sequence[Record], course: Course) -> dict[str, Any]:
    """In sum, for a machine; seconds, and None where there is no figure.

    A request that failed, or was not sent, has no latency and misses the objective.
    """
    counted = [each for each in records if each.due >= course.warmup]
    served = [each for each in counted if each.flaw is None]
    seconds = max((each.due + each.late + each.whole for each in served), default=math.nan) - course.warmup
    figures = {
        "requests": {
            "planned": course.planned,
            "ended": len(records),
            "counted": len(counted),
            "served": len(served),
            "cut_off": course.cut_off,
            "most_in_flight": course.most_in_flight,
        },
        "errors": dict(Counter(str(each.flaw.kind) for each in counted if each.flaw)),
        "statuses": dict(sorted(Counter(str(each.status) for each in counted if each.status).items())),
        "complaints": dict(_complaints(counted)),
        "seconds": seconds,
        "ttft": _spread([each.ttft for each in served]),
        "itl": _gaps(served),
        "tpot": _spread([each.tpot for each in served if each.output_tokens > 1]),
        "whole": _spread([each.whole for each in served]),
        "goodput": _share(sum(each.within(course.objective) for each in counted), len(counted)),
        "served_per_s": len(served) / seconds,
        "good_per_s": sum(each.within(course.objective) for each in counted) / seconds,
        "lateness": _lateness([each.late for each in counted if not _unsent(each)]),
        "tokens": _tokens(served, seconds),
    }
    return {name: _without_nan(value) for name, value in figures.items()}


def _unsent(record: Record) -> bool:
    return record.flaw is not None and record.flaw.kind is Kind.UNSENT


def _complaints(records: Sequence[Record]) -> list[tuple[str, int]]:
    return Counter(each.flaw.told for each in records if each.flaw).most_common(_EXAMPLES)


def _spread(values: Sequence[float]) -> dict[str, float]:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return {"mean": math.nan} | {f"p{share}": math.nan for share in _QUANTILES}
    shares = {f"p{share}": float(np.percentile(known, share)) for share in _QUANTILES}
    return {"mean": float(np.mean(known))} | shares


def _gaps(records: Sequence[Record]) -> dict[str, float]:
    counts: gaps.Counts = np.zeros(gaps.BINS, np.int64)
    for record in records:
        counts += np.bincount(record.bins, minlength=gaps.BINS)
    return {f"p{share}": gaps.percentile(counts, share / 100.0) for share in _QUANTILES}


def _lateness(late: Sequence[float]) -> dict[str, float]:
    return _spread(late) | {"max": max(late, default=math.nan)}


def _tokens(served: Sequence[Record], seconds: float) -> dict[str, float]:
    told = [each for each in served if each.prompt_tokens is not None]
    prompt = sum(each.prompt_tokens or 0 for each in told)
    caches = [each for each in told if each.cached_tokens is not None]
    output = sum(each.output_tokens for each in served)
    return {
        "planned_prompt": sum(each.planned_tokens for each in served),
        "prompt": prompt if told else math.nan,
        "cached": sum(each.cached_tokens or 0 for each in caches) if caches else math.nan,
        "hit_rate": _share(sum(each.cached_tokens or 0 for each in caches), prompt) if caches else math.nan,
        "output": output,
        "output_per_s": output / seconds,
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
