"""Profile handlers: which profiles run for a request, and which result serves it."""

from collections.abc import Mapping
from typing import Final

from endpoint_picker.core import wire
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import REJECTED_SATURATED, ResourceExhausted
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Profile, Wiring

SINGLE: Final = "single-profile-handler"


class Single(Plugin):
    """`single-profile-handler`: runs the only profile there is."""

    type = SINGLE

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        """Whatever that profile picks; its refusal is the request's."""
        (profile,) = profiles.values()
        result = profile.run(request, candidates)
        return Decision(result, {profile.name: result})


class HeaderParameters(Parameters, frozen=True):
    """Which header names the profile, and what runs where it does not."""

    header_name: str = "EPP-Profile"
    default_profile: str = "decode"

    def __post_init__(self) -> None:
        if not self.header_name:
            raise ValueError("headerName is empty; name the request header that names the profile")


class ByHeader(Plugin):
    """`header-profile-handler`: runs the one profile that the request's header names.

    Where there is but one profile it runs, whatever the header says. A name that no profile has gets 429.
    """

    type = "header-profile-handler"
    stability = "alpha"
    schema = HeaderParameters

    def __init__(self, name: str, parameters: HeaderParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._header = parameters.header_name.lower()

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        profile = self._named(request, profiles)
        result = profile.run(request, candidates)
        return Decision(result, {profile.name: result})

    def _named(self, request: Request, profiles: Mapping[str, Profile]) -> Profile:
        if len(profiles) == 1:
            return next(iter(profiles.values()))
        profile = profiles.get(request.headers.get(self._header) or self.parameters.default_profile)
        if profile is None:
            raise ResourceExhausted(
                f"no scheduling profile is named as the header {self._header} (or the default) says",
                reason=REJECTED_SATURATED,
            )
        return profile


class PortParameters(Parameters, frozen=True):
    """Where the ranks of a pod are reached."""

    primary_port: int = 8000

    def __post_init__(self) -> None:
        if not 0 <= self.primary_port <= 65535:
            raise ValueError(f"primaryPort is {self.primary_port}; write a port from 0 to 65535")


class DataParallel(Single):
    """`data-parallel-profile-handler`: the request goes to the pod's one port, a header names the rank.

    Deprecated: an endpoint for each rank needs no header. Behind the port is a proxy of the pod, which
    refuses the ranks of other pods, so no second choice is named.
    """

    type = "data-parallel-profile-handler"
    schema = PortParameters

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        decision = super().choose(request, candidates, profiles)
        rank = (wire.DATA_PARALLEL, decision.endpoint.host_port)
        return Decision(decision.primary, decision.results, (rank,), self.parameters.primary_port)
