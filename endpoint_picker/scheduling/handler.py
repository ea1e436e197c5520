"""Profile handlers: which profiles run for a request, and which result serves it."""

from collections.abc import Mapping
from typing import Final

from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin, Profile

SINGLE: Final = "single-profile-handler"


class Single(Plugin):
    """`single-profile-handler`: runs the only profile there is."""

    type = SINGLE

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        """Whatever that profile picks; its refusal is the request's."""
        (profile,) = profiles.values()
        result = profile.run(request, candidates)
        return Decision(result, {profile.name: result})
