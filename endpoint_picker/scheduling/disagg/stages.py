"""Stages that a request may do without: a decider is asked, the profile runs, finding nobody is counted."""

import logging
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from endpoint_picker.core.decision import ProfileResult
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import Refusal
from endpoint_picker.core.request import Request
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.plugin import Decider, Plugin, Profile, Wiring
from endpoint_picker.scheduling.filters.labels import ByLabels

log = logging.getLogger(__name__)

NO_ENDPOINT: Final = "no-endpoint"
"""No candidate has the labels that the profile asks for."""
FILTERED_OUT: Final = "filtered-out"
"""Some have, but the profile's other filters left none of them."""


class Asked:
    """A decider; one that fails says no."""

    def __init__(self, decider: Decider, wiring: Wiring) -> None:
        self._decider = decider
        self._clock: Callable[[], float] = wiring.clock
        self._metrics = wiring.metrics
        self._complaints = Sparse(log, clock=wiring.clock)
        self._name = getattr(decider, "name", type(decider).__name__)
        self._type = getattr(decider, "type", type(decider).__name__)
        self._told = wiring.metrics.plugin_timer("Decider", self._type, self._name)

    def says_yes(self, request: Request, row: int | None) -> bool:
        started = self._clock()
        try:
            return _truth(self._decider.decide(request, row))
        except Exception:
            self._metrics.plugin_failed("Decider", self._type, self._name)
            self._complaints.exception(
                self._name,
                "decider %s (type %s) failed, which counts as no; request %s",
                self._name,
                self._type,
                request.id,
            )
            return False
        finally:
            self._told(self._clock() - started)


class Stage:
    """One stage beside the decoding."""

    def __init__(self, stage: str, profile: str, handler: Plugin, *, always: bool = False) -> None:
        self.stage = stage
        """prefill or encode."""
        self.profile = profile
        """Name of its profile; where there is none of that name, the stage is left out."""
        self.always = always
        """It needs no decider."""
        self.decider: Asked | None = None
        """Without one, unless it is always run, the stage is left out."""
        self._handler = handler

    def run(
        self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile], row: int | None
    ) -> ProfileResult | None:
        """What its profile picked; None where the stage is left out. `row` is the endpoint that decodes."""
        profile = profiles.get(self.profile)
        if profile is None or not self._wanted(request, row):
            return None
        try:
            return profile.run(request, candidates)
        except Refusal:
            reason = NO_ENDPOINT if nobody_by_labels(profile, request, candidates) else FILTERED_OUT
            handler = self._handler
            handler.wiring.metrics.stage_skipped(handler.name, handler.type, self.stage, reason)
            return None

    def _wanted(self, request: Request, row: int | None) -> bool:
        return self.always or (self.decider is not None and self.decider.says_yes(request, row))


def nobody_by_labels(profile: Profile, request: Request, candidates: Candidates) -> bool:
    """Whether a profile's filters by label alone, its role filter above all, leave nobody."""
    for keeping in getattr(profile, "filters", ()):
        if isinstance(keeping.filter, ByLabels):
            candidates = candidates.where(keeping.filter.keep(request, candidates))
    return not len(candidates)


def _truth(answer: object) -> bool:
    """Raises TypeError for anything else."""
    if not isinstance(answer, bool | np.bool_):
        raise TypeError(f"answered {answer!r:.100} instead of a truth value")
    return bool(answer)
