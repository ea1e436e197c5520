"""Requests to the endpoints that are meant for prompts of their length: a filter and a scorer in one.

A label tells an endpoint's range in tokens, as `min-max`. An engine that is set up for long prompts is
slower with short ones, and the other way round.
"""

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Mask, Vector
from endpoint_picker.core.labels import ByVersion
from endpoint_picker.core.records import record
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

OUTSIDE: Final = 0.3
"""Best score out of range, and the least within."""
NEUTRAL: Final = 0.5
"""Score of an endpoint that takes any length."""
_RANGE: Final = re.compile(r"\s*([0-9]{1,15})\s*-\s*([0-9]{1,15})\s*")


class RangeParameters(Parameters, frozen=True):
    """Which label holds the range, and whether endpoints are left out by it."""

    label: str = "llm-d.ai/context-length-range"
    enable_filtering: bool = False

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label is empty; name the label that holds the range, or leave it out")


@record
class Ranges:
    """The range of each endpoint, arrays of shape (capacity,)."""

    least: Vector
    most: Vector
    """Tokens, inclusive; where there is no range it is from 0 to -1."""
    any: Mask
    """No label: takes any length."""
    wrong: Mask
    """A label that is no range."""


class ContextLengthAware(Plugin):
    """`context-length-aware`: the endpoints whose range holds the prompt, a narrow one and its low end first.

    Score within: 0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * (max - tokens) / width), 1 for a width
    of 0; outside: 0.3 / (1 + distance / 1000); no label: 0.5; a label that is no range: 0. With
    `enableFiltering` only those within, and those without a label, stay.

    Where the tokens are not known, since their producer has failed, everybody stays and is liked equally,
    while the field's reference takes the prompt for empty and sends it where the short ones go.
    """

    type = "context-length-aware"
    schema = RangeParameters

    def __init__(self, name: str, parameters: RangeParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._prompt = attributes.tokenized_prompt()
        self._ranges = ByVersion(self._over)

    def requires(self) -> Sequence[Key[Any]]:
        return (self._prompt,)

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        prompt = request.attributes.read(self._prompt)
        if prompt is None or not self.parameters.enable_filtering:
            return np.ones(len(candidates), np.bool_)
        ranges, rows = self._ranges.of(candidates.table), candidates.rows
        within = (ranges.least[rows] <= prompt.total) & (prompt.total <= ranges.most[rows])
        kept: Mask = within | ranges.any[rows]
        return kept

    def score(self, request: Request, candidates: Candidates) -> Vector:
        prompt = request.attributes.read(self._prompt)
        if prompt is None:
            return np.full(len(candidates), NEUTRAL)
        ranges, rows = self._ranges.of(candidates.table), candidates.rows
        scores = _fit(float(prompt.total), ranges.least[rows], ranges.most[rows])
        scores[ranges.any[rows]] = NEUTRAL
        scores[ranges.wrong[rows]] = 0.0
        return scores

    def _over(self, table: EndpointTable) -> Ranges:
        size = table.capacity
        ranges = Ranges(np.zeros(size), np.full(size, -1.0), np.zeros(size, bool), np.zeros(size, bool))
        for row in table.live.tolist():
            text = table[row].labels.get(self.parameters.label)
            found = _bounds(text or "")
            if found is not None:
                ranges.least[row], ranges.most[row] = found
            ranges.any[row] = text is None
            ranges.wrong[row] = text is not None and found is None
            if ranges.wrong[row]:
                log.warning("%s: the label of %s is %.80r, not min-max", self.name, table[row].id, text)
        return ranges


def _bounds(text: str) -> tuple[int, int] | None:
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        return None
    return int(found[1]), int(found[2])


def _fit(tokens: float, least: Vector, most: Vector) -> Vector:
    width = most - least
    room = np.divide(most - tokens, width, out=np.zeros(len(width)), where=width > 0.0)
    narrow = np.where(width > 0.0, 0.7 / (1.0 + np.maximum(width, 0.0) / 10000.0) + 0.3 * room, 1.0)
    within = OUTSIDE + (1.0 - OUTSIDE) * narrow
    beyond = np.maximum(np.maximum(least - tokens, tokens - most), 0.0)
    scores: Vector = np.where(beyond > 0.0, OUTSIDE / (1.0 + beyond / 1000.0), within)
    return scores
