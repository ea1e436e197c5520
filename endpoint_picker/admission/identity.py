"""Who asks, where the client does not say it in so many words."""

from typing import Final

from endpoint_picker.core import wire
from endpoint_picker.core.attributes import agent_identity
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring

SESSION_HEADERS: Final = ("x-claude-code-session-id", "x-session-affinity", "session-id", "session_id")
"""What agents in the field send, in the order in which it is looked for."""


class IdentityParameters(Parameters, frozen=True):
    additional_session_headers: tuple[str, ...] = ()
    """Looked at before the others."""

    def __post_init__(self) -> None:
        for position, name in enumerate(self.additional_session_headers):
            if not name.strip():
                raise ValueError(f"additionalSessionHeaders[{position}] is empty; write the name of a header")


class AgentIdentity(Plugin):
    """`agent-identity`: the first session header that says something, as a fact and as the fairness ID.

    As the fairness ID only where the client sent none.
    """

    type = "agent-identity"
    stability = "alpha"
    schema = IdentityParameters

    def __init__(self, name: str, parameters: IdentityParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        own = (header.strip().lower() for header in parameters.additional_session_headers)
        self._headers = (*own, *SESSION_HEADERS)

    def read_headers(self, request: Request) -> None:
        headers = request.headers
        identity = next((headers[name] for name in self._headers if headers.get(name)), "")
        if not identity:
            return
        request.attributes.write(agent_identity(), identity)
        if not any(headers.get(name) for name in wire.FAIRNESS_ID):
            request.fairness_id = identity
