"""One scheduling cycle: the handler runs profiles, the outcome is counted."""

from collections.abc import Callable, Iterable, Mapping

from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import Refusal
from endpoint_picker.core.request import Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Profile, ProfileHandler, Wiring


class Scheduler:
    """Chooses the endpoint of a request."""

    def __init__(self, handler: ProfileHandler, profiles: Iterable[Profile], wiring: Wiring) -> None:
        self.handler = handler
        self.profiles: Mapping[str, Profile] = {profile.name: profile for profile in profiles}
        self._metrics: Metrics = wiring.metrics
        self._clock: Callable[[], float] = wiring.clock

    def schedule(self, request: Request, candidates: Candidates) -> Decision:
        """The decision. Raises a Refusal when no candidate can serve the request."""
        started = self._clock()
        try:
            decision = self.handler.choose(request, candidates, self.profiles)
        except Refusal:
            self._metrics.attempt(request.target_model, None)
            raise
        finally:
            self._metrics.scheduled(self._clock() - started)
        self._metrics.attempt(request.target_model, decision.endpoint)
        return decision
