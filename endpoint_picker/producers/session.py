"""The name that a client gives its session, in a header or in a cookie."""

from collections.abc import Sequence
from typing import Any

from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters, Plugin, Wiring


class SessionParameters(Parameters, frozen=True):
    """Where the session is named; exactly one of the two."""

    header_name: str = ""
    cookie_name: str = ""

    def __post_init__(self) -> None:
        if bool(self.header_name) == bool(self.cookie_name):
            raise ValueError("write exactly one of headerName and cookieName")


class SessionId(Plugin):
    """`session-id-producer`: the session as the request names it; no fact where it names none."""

    type = "session-id-producer"
    schema = SessionParameters

    def __init__(self, name: str, parameters: SessionParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._session = attributes.session_id(name)
        self._header = parameters.header_name.lower()

    def produces(self) -> Sequence[Key[Any]]:
        return (self._session,)

    def produce(self, request: Request, candidates: Candidates) -> None:
        headers = request.headers
        if self._header:
            named = headers.get(self._header, "").strip()
        else:
            named = _cookie(headers.get("cookie", ""), self.parameters.cookie_name)
        if named:
            request.attributes.write(self._session, named)


def _cookie(header: str, name: str) -> str:
    """The value of the first cookie of that name, without quotes around it; "" where there is none."""
    for pair in header.split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip().removeprefix('"').removesuffix('"')
    return ""
