"""Gauges of the pool, computed from the endpoint table when the page is read and at no other time.

Nothing has to refresh them in between, and what the page shows is what the picker saw at that moment.
"""

from collections.abc import Callable, Iterator
from math import isfinite, nan
from typing import Final

import numpy as np
from prometheus_client import Metric

from endpoint_picker.core.endpoints import EndpointTable, Rows, Vector
from endpoint_picker.observability.families import POOL, PREFIX
from endpoint_picker.observability.series import clean

GAUGES: Final = {
    "kv_cache_utilization": ("kv_usage", "the used share of the KV cache"),
    "queue_size": ("waiting", "the requests that wait in a replica"),
    "running_requests": ("running", "the requests that a replica runs"),
}
"""Ending of the series' names → column of the table, and what it is."""
DECIMALS: Final = 2
"""Places shown, as the field's pages do."""


class Pool:
    """Shows one table. Only endpoints with a fresh reading count; where there is none, averages freeze."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.table: EndpointTable | None = None
        self._labels = {"name": clean(name)}
        self._clock = clock
        self._spread: dict[str, tuple[float, float]] = {}
        """Ending → mean and standard deviation, as last computed from at least one reading."""

    def describe(self) -> Iterator[Metric]:
        """Name and kind of every family, without series."""
        for metric in self.collect():
            metric.samples = []
            yield metric

    def collect(self) -> Iterator[Metric]:
        """The page's part about the pool; without a table the families are there but empty."""
        rows = self._fresh()
        for ending, (column, what) in GAUGES.items():
            if rows is not None and self.table is not None:
                self._measure(ending, getattr(self.table, column)[rows])
            mean, deviation = self._spread.get(ending, (None, None))
            yield self._gauge(f"{PREFIX}average_{ending}", f"Mean over the pool of {what}.", mean)
            yield self._gauge(f"{POOL}average_{ending}", f"{_replaced(f'average_{ending}')}.", mean)
            yield self._gauge(f"{PREFIX}std_dev_{ending}", f"Sample standard deviation of {what}.", deviation)
        ready = None if rows is None else float(len(rows))
        yield self._gauge(f"{PREFIX}ready_endpoints", "Endpoints with a fresh reading.", ready)
        yield self._gauge(f"{POOL}ready_pods", f"{_replaced('ready_endpoints')}.", ready)
        yield from self._queues(rows)

    def _fresh(self) -> Rows | None:
        if self.table is None:
            return None
        live = self.table.live
        return live[self.table.fresh(self._clock())[live]]

    def _measure(self, ending: str, values: Vector) -> None:
        known = values[np.isfinite(values)]
        if known.size:
            deviation = float(known.std(ddof=1)) if known.size > 1 else 0.0
            self._spread[ending] = (round(float(known.mean()), DECIMALS), round(deviation, DECIMALS))

    def _gauge(self, name: str, help: str, value: float | None) -> Metric:
        metric = Metric(name, f"[ALPHA] {help}", "gauge")
        if value is not None:
            metric.add_sample(name, self._labels, value)
        return metric

    def _queues(self, rows: Rows | None) -> Iterator[Metric]:
        queues = self._waiting(rows)
        for series, label, help in (
            (
                f"{PREFIX}per_endpoint_queue_size",
                "model_server_endpoint",
                "Requests that wait in one replica",
            ),
            (f"{POOL}per_pod_queue_size", "model_server_pod", _replaced("per_endpoint_queue_size")),
        ):
            metric = Metric(series, f"[ALPHA] {help}.", "gauge")
            for name, size in queues.items():
                metric.add_sample(series, {**self._labels, label: name}, size)
            yield metric

    def _waiting(self, rows: Rows | None) -> dict[str, float]:
        """Queue by endpoint name. A pool lives in one namespace; names that clash nevertheless add up."""
        queues: dict[str, float] = {}
        if rows is not None and self.table is not None:
            waiting = dict(zip(rows.tolist(), self.table.waiting[rows].tolist(), strict=True))
            # By endpoint, not by row: one may leave while the page is read in another thread.
            for endpoint in self.table:
                size = waiting.get(self.table.row_of(endpoint.id), nan)
                if isfinite(size):
                    name = clean(endpoint.name)
                    queues[name] = queues.get(name, 0.0) + size
        return queues


def _replaced(name: str) -> str:
    return f"Deprecated, replaced by {PREFIX}{name}"
