"""An endpoint that only fails is left alone for a while."""

from typing import Final

from endpoint_picker.core.endpoints import EndpointTable

FAILURES: Final = 3
"""Failures in a row before an endpoint is left alone: one or two may be the request's own doing."""
SECONDS: Final = (5.0, 60.0)
"""First and longest time that a failing endpoint is left alone; it doubles in between."""


def judge(table: EndpointTable, row: int, *, failed: bool, now: float) -> None:
    """Count failures in a row; from the third on the endpoint is not picked while others can be."""
    if not failed:
        table.failures[row] = 0
        return
    table.failures[row] += 1
    excess = int(table.failures[row]) - FAILURES
    if excess >= 0:
        first, longest = SECONDS
        table.ejected_until[row] = now + min(longest, first * 2.0 ** min(excess, 8))
