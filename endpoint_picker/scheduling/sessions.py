"""How a session is bound to an endpoint: by a token that the client carries, or by a table of our own.

The token asks nothing of the picker and survives it; the table asks nothing of the client but to name its
session. Both say which endpoint a request belongs to, and both learn where it went.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from endpoint_picker.core.attributes import SESSION_ID, Key
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Parameters

MOST_SESSIONS: Final = 1 << 17
"""Sessions that are remembered at once: bounds memory whatever clients call theirs."""
LONGEST_TOKEN: Final = 1024
"""Characters; an endpoint's id is never that long."""
DEFAULT_SOURCE: Final = "x-session-id"


class TokenParameters(Parameters, frozen=True):
    """Where the token travels, on requests and on responses."""

    header: str = "x-session-token"


class Source(Parameters, frozen=True):
    """One place where a session may be named: a request header, or a fact of the request."""

    header: str = ""
    attribute: str = ""
    producer: str = ""

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.attribute):
            raise ValueError(
                "a session source has either a header or an attribute; write exactly one of them"
            )
        if "/" in self.attribute:
            raise ValueError(f"attribute {self.attribute}: write what follows the slash as producer")

    @property
    def fact(self) -> Key[str]:
        name = self.attribute.removesuffix("DataKey")
        return Key(name, self.producer or ("session-id-producer" if name == SESSION_ID else ""))


class TableParameters(Parameters, frozen=True):
    """Where a session is named, the first that says something, and how long it is remembered unused."""

    sources: tuple[Source, ...] = ()
    eviction_ttl_seconds: float = 300.0
    eviction_sweep_seconds: float = 10.0

    def __post_init__(self) -> None:
        for key, value in (
            ("evictionTtlSeconds", self.eviction_ttl_seconds),
            ("evictionSweepSeconds", self.eviction_sweep_seconds),
        ):
            if not value > 0.0:
                raise ValueError(f"{key} is {value}; it must be more than 0")


class Carried:
    """The client carries the binding: the endpoint's id in base64, told with each response."""

    facts: Sequence[Key[Any]] = ()

    def __init__(self, parameters: TokenParameters) -> None:
        self._header = parameters.header.lower()

    def bound(self, request: Request) -> str | None:
        """Id of the endpoint; None where the request carries none that can be read."""
        token = request.headers.get(self._header, "").strip()
        if not token or len(token) > LONGEST_TOKEN:
            return None
        try:
            return base64.b64decode(token, validate=True).decode()
        except ValueError:
            return None

    def learn(self, request: Request, result: ProfileResult, table: EndpointTable) -> None:
        """Nothing: the client is told with the response."""

    def move(self, request: Request, endpoint_id: str) -> None:
        """Nothing either."""

    def tell(self, endpoint_id: str) -> Mapping[str, str]:
        """Header fields of the response."""
        return {self._header: base64.b64encode(endpoint_id.encode()).decode()}


class Remembered:
    """The picker remembers the bindings; the client names its session."""

    def __init__(self, parameters: TableParameters, clock: Callable[[], float]) -> None:
        self.sources = parameters.sources or (Source(header=DEFAULT_SOURCE),)
        self.facts = tuple(source.fact for source in self.sources if source.attribute)
        self._places: list[str | Key[str]] = [
            source.fact if source.attribute else source.header.lower() for source in self.sources
        ]
        self._ttl = parameters.eviction_ttl_seconds
        self._pause = parameters.eviction_sweep_seconds
        self._clock = clock
        self._next_sweep = clock() + self._pause
        self._bindings: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        """Digest of a session's name → endpoint id and when it was last used; the oldest comes first."""

    def __len__(self) -> int:
        return len(self._bindings)

    def bound(self, request: Request) -> str | None:
        """Id of the endpoint; None for a session that is new, or was not heard of for too long."""
        found = self._bindings.get(self._session(request))
        return found[0] if found is not None and self._clock() - found[1] <= self._ttl else None

    def learn(self, request: Request, result: ProfileResult, table: EndpointTable) -> None:
        """Bind a session to where it goes, unless it could have gone where it is bound and did not."""
        picked, bound = result.endpoints[0].id, self.bound(request)
        row = None if bound is None else table.row_of(bound)
        if bound is None or bound == picked or row is None or not (result.scored_rows == row).any():
            self.move(request, picked)

    def move(self, request: Request, endpoint_id: str) -> None:
        """Bind a session, wherever it was before."""
        session = self._session(request)
        if session:
            self._bindings[session] = endpoint_id, self._clock()
            self._bindings.move_to_end(session)
            self._let_go()

    def tell(self, endpoint_id: str) -> Mapping[str, str]:
        """Nothing: the client knows its session."""
        return {}

    def adopt(self, old: "Remembered") -> None:
        """Go on with another's bindings, if sessions are named in the same places."""
        if old.sources == self.sources:
            self._bindings = old._bindings

    @staticmethod
    def _named(request: Request, place: "str | Key[str]") -> str | None:
        if isinstance(place, str):
            return request.headers.get(place)
        return request.attributes.read(place)

    def _session(self, request: Request) -> bytes:
        """A digest, for a client may name its session at any length; empty where it names none."""
        for place in self._places:
            named = self._named(request, place)
            if named and named.strip():
                return hashlib.blake2b(named.strip().encode(), digest_size=16).digest()
        return b""

    def _let_go(self) -> None:
        if len(self._bindings) > MOST_SESSIONS:
            self._bindings.popitem(last=False)
        now = self._clock()
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._pause
        while self._bindings and now - next(iter(self._bindings.values()))[1] > self._ttl:
            self._bindings.popitem(last=False)


Way = Carried | Remembered


def end_of(decision: Decision, profile: str) -> ProfileResult | None:
    """What a profile picked, or the primary one where none is named; None where it did not run."""
    return decision.results.get(profile) if profile else decision.primary
