"""Metrics pages as a picker reads them: each replica once an interval, not all at the same time.

A reading is taken when somebody looks at the table next, but shows what it would have shown when it was due.
So the many readings that nobody would have looked at cost nothing.
"""

import math
from collections.abc import Sequence
from random import Random

from bench.fleet.replica import Replica
from endpoint_picker.core.endpoints import EndpointTable


class Scrapes:
    """One picker's readings of all replicas."""

    def __init__(
        self, table: EndpointTable, replicas: Sequence[Replica], *, interval: float, rng: Random
    ) -> None:
        self._table = table
        self._replicas = replicas
        self._interval = interval
        self._phases = [rng.uniform(-interval, 0.0) for _ in replicas]
        """When each was read for the first time; all have been at the start."""
        self._seen = [-1] * len(replicas)
        """Number of the last reading of each."""

    def take(self, replica: int, row: int, now: float) -> None:
        """Take what has become due of one replica, for its row of the table."""
        if not self._interval:
            self._read(replica, row, now)
            return
        phase = self._phases[replica]
        due = math.floor((now - phase) / self._interval)
        if due > self._seen[replica]:
            self._seen[replica] = due
            self._read(replica, row, max(0.0, phase + due * self._interval))

    def _read(self, replica: int, row: int, at: float) -> None:
        gauges = self._replicas[replica].gauges_at(at) if self._replicas[replica].alive else None
        if gauges is not None:
            self._table.observe(row, gauges, at)
