"""What scheduling answers: which endpoints, from which profile, and with what totals."""

from collections.abc import Mapping

from endpoint_picker.core.endpoints import Endpoint, Rows, Vector, join_host_port
from endpoint_picker.core.ranks import alternatives
from endpoint_picker.core.records import record


@record
class ProfileResult:
    """What one scheduling profile picked."""

    profile: str
    rows: tuple[int, ...]
    """Picked table rows, best first; later ones serve when the first cannot be reached."""
    endpoints: tuple[Endpoint, ...]
    """The endpoints in those rows."""
    scored_rows: Rows
    """Rows that were scored, shape (n,)."""
    totals: Vector
    """Weighted sum of the scores of each of them, shape (n,)."""


@record
class Inline:
    """How the picker itself has a prompt computed elsewhere, before the request goes on."""

    timeout: float
    """Seconds for all of it, a second attempt included."""
    most: int
    """Prompts that one endpoint is given at the same time."""
    scheme: str = "http"
    """`http` or `https`."""
    verify: bool = True
    """Whether the endpoint's certificate is checked."""


@record
class Decision:
    """The outcome for one request: the primary profile serves it, others help (prefill, encode)."""

    primary: ProfileResult
    results: Mapping[str, ProfileResult]
    """Every profile that ran, by name; the primary included."""
    headers: tuple[tuple[str, str], ...] = ()
    """Fields to set on the request beside the destination, names in lower case."""
    port: int | None = None
    """Where it is set, the request goes to this port of the first choice's address, and nowhere else: the
    headers tell what listens there which of the endpoints behind it is meant."""
    prefill: ProfileResult | None = None
    """Who computes the prompt, where that is another one than who decodes."""
    encode: ProfileResult | None = None
    """Who encodes images, films and sound, where that is another one than who decodes."""
    inline: Inline | None = None
    """Where it is set, the picker has the prompt computed; else a proxy beside the first choice does, which
    the headers tell where."""

    @property
    def row(self) -> int:
        """Table row of the first choice."""
        return self.primary.rows[0]

    @property
    def endpoint(self) -> Endpoint:
        """The first choice."""
        return self.primary.endpoints[0]

    @property
    def destination(self) -> str:
        """Value of the destination header and metadata: `ip:port[,ip:port…]`, best first."""
        if self.port is not None:
            return join_host_port(self.endpoint.address, self.port)
        endpoints = self.primary.endpoints
        return endpoints[0].host_port if len(endpoints) == 1 else ",".join(alternatives(endpoints))
