"""Groups of equal prompts that come at about the same time, and where each group is sent.

A burst of samples of one prompt finds every cache cold; spread over the pool, each replica computes the same
prompt. A group keeps them together for a while. It lasts for one window from its first request on, so that
a prompt which never stops coming does not stay on one replica for ever.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from endpoint_picker.core.attributes import Counts
from endpoint_picker.core.endpoints import Candidates, Rows
from endpoint_picker.core.records import record

LARGEST_BATCH: Final = 1 << 16
"""Requests: bounds memory where no limit is configured."""


@record
class Limits:
    """How groups are formed and spread."""

    window: float
    """Seconds that a group lasts."""
    most_of_group: int | None
    """Requests of one group that one replica is sent; None: all."""
    most_requests: int
    """Requests of all groups that are remembered."""
    by_blocks: bool
    """Whether load is counted in blocks to compute, or in requests."""
    lead_blocks: int
    """Leading blocks that two different prompts must share to attract each other; 0: they never do."""


@record
class Member:
    """What a request is grouped by."""

    prompt: bytes
    """Equal for equal prompts."""
    lead: int | None
    """Equal where the first blocks are equal; None: too short to attract anybody."""
    blocks: int
    came: float
    """Seconds of the monotonic clock."""


@dataclass(slots=True)
class _Group:
    lead: int | None
    began: float
    rows: dict[int, int] = field(default_factory=dict)
    """Requests that each row was sent; the first pick comes first."""
    charged: dict[int, int] = field(default_factory=dict)
    """The load that each row was charged."""


class Bursts:
    """The groups of the current window."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._groups: OrderedDict[bytes, _Group] = OrderedDict()
        """By prompt, the oldest first."""
        self._leads: dict[int, dict[int, int]] = {}
        """Lead → row → groups of this lead there."""
        self.load: Counts = np.zeros(0, np.int64)
        """Of each row, over all groups."""
        self._requests = 0

    def __len__(self) -> int:
        """Requests that are remembered."""
        return self._requests

    @property
    def leads(self) -> int:
        """Different beginnings that somebody has."""
        return len(self._leads)

    def assign(self, member: Member, candidates: Candidates) -> int | None:
        """The row that a request should go to; None: it belongs to no group yet, so any is as good."""
        self._expire(member.came)
        self._fit(candidates.table.capacity)
        group = self._groups.get(member.prompt)
        if group is not None:
            return self._of_group(group, candidates)
        holders = self._leads.get(member.lead) if member.lead is not None else None
        return self._beside(holders, member, candidates) if holders else None

    def book(self, member: Member, row: int) -> None:
        """The request goes to this row."""
        self._fit(row + 1)
        if self._requests >= self._limits.most_requests:
            return
        group = self._groups.get(member.prompt)
        if group is None:
            group = self._groups[member.prompt] = _Group(member.lead, member.came)
        if row not in group.rows:
            cost = self._cost(member, row)
            self._lead(group, row, 1)
        else:
            cost = 0 if self._limits.by_blocks else 1
        group.rows[row] = group.rows.get(row, 0) + 1
        group.charged[row] = group.charged.get(row, 0) + cost
        self.load[row] += cost
        self._requests += 1

    def drop(self, rows: Iterable[int]) -> None:
        """These rows hold other endpoints than before, or none."""
        for row in rows:
            for group in self._groups.values():
                self._leave(group, row)

    def _of_group(self, group: _Group, candidates: Candidates) -> int | None:
        """A group stays whole, up to the limit for each replica; then the next replica is filled."""
        most = self._limits.most_of_group
        full = [row for row, count in group.rows.items() if most is not None and count >= most]
        for row in group.rows:
            if row not in full and (candidates.rows == row).any():
                return row
        return self._least_loaded(candidates.rows[~np.isin(candidates.rows, full)], candidates)

    def _beside(self, holders: Iterable[int], member: Member, candidates: Candidates) -> int | None:
        """Next to what shares the first blocks, as long as that has no more than its share of the load."""
        rows = candidates.rows[np.isin(candidates.rows, list(holders))]
        total = int(self.load[candidates.rows].sum()) + (member.blocks if self._limits.by_blocks else 1)
        fair = math.ceil(total / max(1, len(candidates)))
        below = rows[self.load[rows] < fair]
        return self._least_loaded(below if len(below) else candidates.rows, candidates)

    def _least_loaded(self, rows: Rows, candidates: Candidates) -> int | None:
        if not len(rows):
            return None
        order = np.lexsort((rows, candidates.table.in_flight[rows], self.load[rows]))
        return int(rows[order[0]])

    def _cost(self, member: Member, row: int) -> int:
        """What the first request of a group adds to a row: blocks that are there already cost nothing."""
        if not self._limits.by_blocks:
            return 1
        known = member.lead is not None and row in self._leads.get(member.lead, {})
        return max(0, member.blocks - (self._limits.lead_blocks if known else 0))

    def _expire(self, now: float) -> None:
        while self._groups:
            oldest = next(iter(self._groups.values()))
            if now - oldest.began < self._limits.window:
                break
            self._groups.popitem(last=False)
            for row in list(oldest.rows):
                self._leave(oldest, row)

    def _leave(self, group: _Group, row: int) -> None:
        """The group is no longer on this row."""
        if row not in group.rows:
            return
        self._requests -= group.rows.pop(row)
        self.load[row] -= group.charged.pop(row)
        self._lead(group, row, -1)

    def _lead(self, group: _Group, row: int, groups: int) -> None:
        if group.lead is None:
            return
        rows = self._leads.setdefault(group.lead, {})
        rows[row] = rows.get(row, 0) + groups
        if not rows[row]:
            del rows[row]
        if not rows:
            del self._leads[group.lead]

    def _fit(self, capacity: int) -> None:
        missing = capacity - len(self.load)
        if missing > 0:
            self.load = np.pad(self.load, (0, missing))
