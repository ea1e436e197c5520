"""Every extension point, in the order in which a request meets them.

    Parser           bytes of the body → Payload; later, chunks of the response → Usage
    HeaderReader     what the request's headers tell beside the usual: who asks, for what session
    Screener         which endpoints the request may use at all, whatever profile runs
    Producer         facts about the request (and each endpoint) that later steps read
    Detector         how full the pool is: requests of negative priority are shed when it is full
    Admitter         may the request go now, or is it refused
    ProfileHandler   which scheduling profiles run, and which result is the primary one
      Decider        whether another endpoint than the one that decodes shall prefill, or encode
      Filter           which candidates stay
      Scorer           how good each of them is
      Picker           which rows win, in which order
    Learner          after the pick: a plugin that remembers what was sent where
    PrefillWatcher   an endpoint has computed the prompt
    Responder        header fields that the response takes to the client
    Auditor          at the end: what the engine reported about the request
    Reporter         at the end: what the data plane is told of it, as dynamic metadata

Beside the requests, and again and again, for each endpoint:

    Source           where a page about the endpoint is had
    Extractor        what the page tells → the endpoint's row of the table

A plugin is a class with a `type` (the name in configuration files), a `schema` of parameters (or None
when it takes none) and the method of its extension point; one class may serve several. Nothing here waits.

When a plugin raises, or answers something of another shape than is asked for, the request goes on without
its contribution: a producer's fact is absent, a screener and a filter keep everybody, a detector sees room,
an admitter admits, a decider says no, a scorer gives 0, a picker falls back to the best total. The failure is
logged with the plugin's name and counted. A plugin says "no" with masks, scores, rows and reasons; only a
parser may raise (`BadRequest`).
"""

import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec
from yarl import URL

from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Candidates, Endpoint, EndpointTable, Mask, Rows, Vector
from endpoint_picker.core.request import Payload, Request, Usage
from endpoint_picker.observability.metrics import Metrics

Stability = Literal["alpha", "beta", "stable"]


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a plugin takes from its `parameters` block: keys in camelCase, unknown ones are errors.

    A value that is of the right type but makes no sense raises ValueError in `__post_init__`, with a
    text that names the key and what would be right.
    """


ParametersType = type[Parameters]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the composition root hands to each plugin."""

    table: EndpointTable
    metrics: Metrics
    rng: random.Random = field(default_factory=random.Random)
    """The one owned source of randomness; a seed makes runs repeatable."""
    clock: Callable[[], float] = lambda: 0.0
    """Monotonic seconds."""


class Plugin:
    """A named instance of one entry of the catalog."""

    type: ClassVar[str]
    """Name in configuration files."""
    stability: ClassVar[Stability] = "beta"
    """An alpha plugin needs `--allow-experimental-plugins`."""
    schema: ClassVar[ParametersType | None] = None
    """Its parameters; None: it takes none, and whatever is written there is ignored."""

    def __init__(self, name: str, parameters: Any, wiring: Wiring) -> None:
        self.name = name
        self.parameters = parameters
        """An instance of `schema`, or None where the class takes none."""
        self.wiring = wiring

    def adopt(self, old: "Plugin") -> None:
        """Take over what an instance of the same name and class has learned, before it is let go.

        Called when a configuration is loaded anew, on the new instance; what no longer fits its parameters
        is left behind.
        """

    def requires(self) -> Sequence[Key[Any]]:
        """Facts that it cannot do without: a missing producer of a default name is created."""
        return ()

    def reads(self) -> Sequence[Key[Any]]:
        """Facts that it uses where they exist: their producers run before it."""
        return ()

    def produces(self) -> Sequence[Key[Any]]:
        """Facts that it writes."""
        return ()


class UsageReader(Protocol):
    """Reads one response as it comes; holds a bounded amount of it."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; they may end anywhere."""

    def finish(self) -> Usage:
        """What the response reported, after its end (or after the stream broke)."""


@runtime_checkable
class Parser(Protocol):
    """Bytes of a body → what a pick needs of it."""

    @property
    def suffixes(self) -> Sequence[str]:
        """Path suffixes that it claims (no leading slash); none: it is the fallback for all paths."""

    def parse(self, path: str, body: bytes) -> Payload:
        """Read a request body. Raises BadRequest with a text for the client."""

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The same body with another model name; all else byte for byte where the format allows."""

    def usage(self, *, streaming: bool) -> UsageReader:
        """A reader for one response: server-sent events when streaming, else one JSON document."""


@runtime_checkable
class Producer(Protocol):
    """Facts about one request."""

    def produce(self, request: Request, candidates: Candidates) -> None:
        """Write facts to `request.attributes`; arrays are indexed by table row."""


@runtime_checkable
class HeaderReader(Protocol):
    """What the headers tell."""

    def read_headers(self, request: Request) -> None:
        """Write facts to `request.attributes`; may set `fairness_id` where the client named none."""


@runtime_checkable
class Screener(Protocol):
    """Which endpoints a request may use at all."""

    def screen(self, request: Request, candidates: Candidates) -> Mask:
        """Shape (n,): True for those that stay. When all screeners leave nobody, the request gets 503."""


@runtime_checkable
class Detector(Protocol):
    """How full the pool is."""

    def saturation(self, candidates: Candidates) -> float:
        """0 is idle; from 1 on the pool is full."""


@runtime_checkable
class Admitter(Protocol):
    """Whether a request may go now."""

    def admit(self, request: Request, candidates: Candidates) -> str:
        """Empty: it may. Else why not, in words for the client, who gets 429."""


@runtime_checkable
class Learner(Protocol):
    """A plugin that remembers what later requests profit from."""

    def learn(self, request: Request, decision: Decision) -> None:
        """The request goes where the decision says."""

    def learn_at(self, request: Request, row: int) -> None:
        """Another endpoint than the first choice served the request in the end."""


@runtime_checkable
class Filter(Protocol):
    """Which candidates may serve the request."""

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        """Shape (n,): True for those that stay."""


@runtime_checkable
class Scorer(Protocol):
    """How well each candidate would serve the request."""

    def score(self, request: Request, candidates: Candidates) -> Vector:
        """Shape (n,), in 0..1, more is better; values outside are clamped, NaN counts as 0."""


@runtime_checkable
class Picker(Protocol):
    """Which candidates win."""

    def pick(self, request: Request, candidates: Candidates, totals: Vector) -> Rows:
        """Table rows, best first, at least one. `totals`, shape (n,), are the weighted sums."""


@runtime_checkable
class PrefillWatcher(Protocol):
    """Sees how long prompts take."""

    def prefilled(self, request: Request, row: int) -> None:
        """The endpoint in `row` has computed the request's prompt just now; told once, or not at all."""


@runtime_checkable
class Responder(Protocol):
    """What the response tells the client."""

    def respond(self, request: Request, decision: Decision) -> Mapping[str, str]:
        """Header fields to set on the response, names in lower case."""


@runtime_checkable
class Auditor(Protocol):
    """Reads the bill."""

    def audit(self, request: Request, decision: Decision, row: int, usage: Usage) -> None:
        """The endpoint in `row` served the request and reported this; called once, at a response's end."""


Metadata = Mapping[str, Mapping[str, str | float | bool]]
"""Dynamic metadata: namespace → key → value."""


@runtime_checkable
class Reporter(Protocol):
    """Tells the data plane about requests."""

    def report(self, request: Request, usage: Usage) -> Metadata:
        """Dynamic metadata to send with the end of the response."""


class Profile(Protocol):
    """A scheduling profile, as a handler sees it."""

    name: str

    def run(self, request: Request, candidates: Candidates) -> ProfileResult:
        """Filter, score, pick. Raises ResourceExhausted when no candidate is left."""


@runtime_checkable
class ProfileHandler(Protocol):
    """Which profiles run for a request, and which of them serves it."""

    def choose(self, request: Request, candidates: Candidates, profiles: Mapping[str, Profile]) -> Decision:
        """Run profiles and name the primary one. Raises a Refusal when the request cannot be served."""


@runtime_checkable
class Decider(Protocol):
    """Whether a stage of a request (its prefill, or the encoding of its media) runs elsewhere."""

    def decide(self, request: Request, row: int | None) -> bool:
        """`row` is the table row of the endpoint that decodes; None where it is picked after this stage."""


@runtime_checkable
class Source(Protocol):
    """Where a page about each endpoint is had over HTTP."""

    type: ClassVar[str]
    name: str
    parameters: Any
    interval: float | None
    """Seconds between two readings; None: the base interval."""
    tls: ssl.SSLContext | None

    def url(self, endpoint: Endpoint) -> URL:
        """Address of the endpoint's page. Raises ValueError with a text where it can have none."""


@runtime_checkable
class Extractor(Protocol):
    """Reads the pages of a source. One that fails leaves the others of its source their page."""

    type: ClassVar[str]
    name: str
    parameters: Any

    def extract(self, page: bytes, row: int) -> None:
        """Write what the page of the endpoint in that row tells to the table.

        Raises ValueError with a text where it tells nothing of what it should.
        """

    def forget(self, row: int) -> None:
        """No page has been had for long: what does not turn stale by itself is not known any more."""
