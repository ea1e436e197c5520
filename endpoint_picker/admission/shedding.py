"""Who is turned away without flow control: requests of negative priority, while the pool is full."""

from typing import Any, Final

from endpoint_picker.admission.saturation import FULL
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Detector

SATURATED: Final = "system saturated, sheddable request dropped"
"""The message that clients in the field know."""


class Shedding:
    """An admitter that asks a detector; under the detector's name in logs and metrics."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        named: Any = detector
        self.name: str = getattr(named, "name", type(detector).__name__)
        self.type: str = getattr(named, "type", type(detector).__name__)

    def admit(self, request: Request, candidates: Candidates) -> str:
        """Empty: it may go. The detector sees the request's own candidates only."""
        if request.priority >= 0:
            return ""
        return SATURATED if self._detector.saturation(candidates) >= FULL else ""
