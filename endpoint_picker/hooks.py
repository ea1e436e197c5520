"""Plugins that take part in a request outside its profile, and the guard between them and the request.

Whatever a plugin raises or answers, the request goes on without its contribution; the failure is logged
once in a while under the plugin's name, and counted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import (
    Admitter,
    Auditor,
    HeaderReader,
    Learner,
    PrefillWatcher,
    Producer,
    Reporter,
    Responder,
    Screener,
)

T = TypeVar("T")
Point = tuple[str, type[Any], str]
"""Name of an extension point in metrics, its protocol, and the method that is called."""

HEADERS: Final[Point] = ("RequestHeader", HeaderReader, "read_headers")
SCREENER: Final[Point] = ("Screener", Screener, "screen")
PRODUCER: Final[Point] = ("DataProducer", Producer, "produce")
ADMISSION: Final[Point] = ("Admission", Admitter, "admit")
LEARNER: Final[Point] = ("PreRequest", Learner, "learn")
LEARNER_AT: Final[Point] = ("PreRequest", Learner, "learn_at")
RESPONDER: Final[Point] = ("ResponseReceived", Responder, "respond")
WATCHER: Final[Point] = ("ResponseStreaming", PrefillWatcher, "prefilled")
REPORTER: Final[Point] = ("ResponseStreaming", Reporter, "report")
AUDITOR: Final[Point] = ("ResponseStreaming", Auditor, "audit")


@dataclass(frozen=True, slots=True)
class Step:
    """One method of one plugin."""

    name: str
    type: str
    point: str
    method: Callable[..., Any]
    told: Callable[[float], None]
    """Is told how long a call took, in seconds."""


class Guard:
    """Calls plugins."""

    def __init__(self, metrics: Metrics, complaints: Sparse, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._complaints = complaints
        self._clock = clock

    def steps(self, point: Point, plugins: Iterable[Any]) -> tuple[Step, ...]:
        """The calls at one extension point, in the order of the plugins that serve it."""
        name, protocol, method = point
        return tuple(self._step(each, name, method) for each in plugins if isinstance(each, protocol))

    def run(self, steps: Sequence[Step], *arguments: Any) -> None:
        """Call all of them."""
        if not steps:
            return
        now = self._clock()
        for step in steps:
            try:
                step.method(*arguments)
            except Exception:
                self._failed(step)
            started, now = now, self._clock()
            step.told(now - started)

    def ask(self, step: Step, check: Callable[[Any], T], default: T, *arguments: Any) -> T:
        """What one of them answers; the default where it fails, or where `check` raises at its answer."""
        started = self._clock()
        try:
            return check(step.method(*arguments))
        except Exception:
            self._failed(step)
            return default
        finally:
            step.told(self._clock() - started)

    def unread(self, parser: Any, told: str, request_id: str) -> None:
        """A parser has failed: what it would have read is not known, and the request goes on."""
        name, kind = getattr(parser, "name", ""), getattr(parser, "type", type(parser).__name__)
        self._metrics.plugin_failed("Parser", kind, name or kind)
        self._complaints.exception(name or kind, told, request_id)

    def _step(self, plugin: Any, point: str, method: str) -> Step:
        name = getattr(plugin, "name", type(plugin).__name__)
        plugin_type = getattr(plugin, "type", type(plugin).__name__)
        timer = self._metrics.plugin_timer(point, plugin_type, name)
        return Step(name, plugin_type, point, getattr(plugin, method), timer)

    def _failed(self, step: Step) -> None:
        self._metrics.plugin_failed(step.point, step.type, step.name)
        self._complaints.exception(
            step.name,
            "plugin %s (type %s) failed in %s; the request goes on",
            step.name,
            step.type,
            step.point,
        )


# === what answers must be ===


def mask_for(candidates: Candidates) -> Callable[[Any], Any]:
    """Checks for a mask over these candidates."""

    def check(answer: Any) -> Any:
        if (
            not isinstance(answer, np.ndarray)
            or answer.dtype.kind != "b"
            or answer.shape != candidates.rows.shape
        ):
            raise TypeError(f"answered {answer!r:.100} instead of a mask for {len(candidates)} candidates")
        return answer

    return check


def text(answer: Any) -> str:
    """Checks for a text."""
    if not isinstance(answer, str):
        raise TypeError(f"answered {answer!r:.100} instead of a text")
    return answer


def fields(answer: Any) -> dict[str, str]:
    """Checks for header fields."""
    found = dict(answer)
    if not all(isinstance(part, str) for pair in found.items() for part in pair):
        raise TypeError(f"answered {answer!r:.100} instead of header fields")
    return found


def metadata(answer: Any) -> dict[str, dict[str, Any]]:
    """Checks for dynamic metadata."""
    found = {namespace: dict(keys) for namespace, keys in dict(answer).items()}
    values = [value for keys in found.values() for value in keys.values()]
    if not all(isinstance(value, str | bool | int | float) for value in values):
        raise TypeError(f"answered {answer!r:.100} instead of dynamic metadata")
    return found
