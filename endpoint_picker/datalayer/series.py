"""Chooses among the series of a family, and judges what they say: the page is a claim, not a fact."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.datalayer.engines import Spec
from endpoint_picker.datalayer.page import Families, Series

RANK_LABEL: Final = "engine"
"""Which data-parallel rank a series is about, counted over the whole deployment."""
MOST: Final = 1e12
"""No count of requests, blocks or adapters is larger."""

Found = Mapping[str, Sequence[Series]]
"""Family → its series on one page."""


class ExtractError(ValueError):
    """The page has nothing of what it should tell."""


def matching(found: Found, spec: Spec | None) -> Sequence[Series]:
    """The series that a spec means."""
    series = found.get(spec.name, ()) if spec is not None else ()
    if spec is None or not spec.labels:
        return series
    wanted = dict(spec.labels).items()
    return [one for one in series if wanted <= one.labels.items()]


def of_rank(series: Sequence[Series], endpoint: Endpoint | None) -> Sequence[Series]:
    """Those about the endpoint, if it is a rank: its own, else those that are about no rank or, where it has
    its port to itself, all."""
    if endpoint is None or endpoint.rank is None:
        return series
    own = str(endpoint.global_rank)
    found = [one for one in series if one.label(RANK_LABEL) == own]
    if found or not endpoint.split:
        return found or series
    return [one for one in series if one.label(RANK_LABEL) is None]


def newest(series: Sequence[Series]) -> Series:
    """The one with the latest timestamp, the first where none carries one."""
    return max(series, key=lambda one: one.timestamp)


def count(value: float | None) -> float | None:
    """Of requests; NaN for what cannot be true."""
    return value if value is None or 0.0 <= value <= MOST else math.nan


def share(value: float | None) -> float | None:
    """In 0..1; NaN for what cannot be true."""
    if value is None or not 0.0 <= value < math.inf:
        return None if value is None else math.nan
    return min(value, 1.0)


class Scalars:
    """Series that become further facts about endpoints: the newest of those that each spec means."""

    def __init__(self, specs: Iterable[tuple[str, Spec]], producer: str) -> None:
        self._specs = tuple(specs)
        self._producer = producer
        # A pass of their own over the page: names without a common beginning take one many times as long.
        self._families = Families(spec.name for _, spec in self._specs)

    def write(self, page: bytes, table: EndpointTable, row: int) -> bool:
        """Write what the page has, an infinite value as not known; answers whether it has anything."""
        if not self._specs:
            return False
        found = self._families.read(page)
        written = False
        for attribute, spec in self._specs:
            if series := of_rank(matching(found, spec), table[row]):
                value = newest(series).value
                table.set_scalar(row, attribute, self._producer, value if math.isfinite(value) else math.nan)
                written = True
        return written

    def forget(self, table: EndpointTable, row: int) -> None:
        """None of them is known any more."""
        for attribute, _ in self._specs:
            table.set_scalar(row, attribute, self._producer, math.nan)
