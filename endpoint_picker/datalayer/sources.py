"""Says where a replica's metrics page is, and how to speak to it."""

import ssl
from typing import Final, Literal

from yarl import URL

from endpoint_picker.config.units import Duration
from endpoint_picker.core.endpoints import Endpoint, join_host_port
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Parameters, Plugin, Wiring

HIGHEST_PORT: Final = 65535


class MetricsParameters(Parameters, frozen=True):
    """Parameters of `metrics-data-source`."""

    scheme: Literal["http", "https"] = "http"
    path: str = "/metrics"
    port: int | str | None = None
    """Where metrics have a port of their own; else the endpoint's."""
    insecure_skip_verify: bool = True
    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    interval: Duration | None = None
    """Rounded to a multiple of the base interval; None: every time."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path: {self.path!r} must begin with a slash, as in /metrics")
        if not _is_port(self.port):
            raise ValueError(f"port: {self.port!r} is not a port; write a number from 1 to {HIGHEST_PORT}")
        if bool(self.client_cert_path) != bool(self.client_key_path):
            raise ValueError("clientCertPath, clientKeyPath: one is useless without the other; give both")
        if self.interval is not None and self.interval <= 0:
            raise ValueError("interval: must be more than 0, such as 200ms")


class MetricsSource(Plugin):
    """`metrics-data-source`: the metrics page of each endpoint over HTTP."""

    type = "metrics-data-source"
    schema = MetricsParameters

    def __init__(self, name: str, parameters: MetricsParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self.interval: float | None = parameters.interval
        """Seconds between two readings; None: the base interval."""
        self.tls: ssl.SSLContext | None = _context(name, parameters) if parameters.scheme == "https" else None
        self._scheme = parameters.scheme
        self._path = parameters.path
        self._port = int(parameters.port or 0)

    def url(self, endpoint: Endpoint) -> URL:
        """Address of the endpoint's page."""
        place = join_host_port(endpoint.address, self._port or endpoint.port)
        return URL(f"{self._scheme}://{place}{self._path}")


def _is_port(value: int | str | None) -> bool:
    text = "" if value is None else str(value)
    return not text or (
        text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= HIGHEST_PORT
    )


def _context(name: str, parameters: MetricsParameters) -> ssl.SSLContext:
    """TLS as the parameters ask for it. Raises ConfigError that names the file."""
    context = ssl.create_default_context()
    if parameters.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        key = "caCertPath"
        if parameters.ca_cert_path:
            context.load_verify_locations(cafile=parameters.ca_cert_path)
        key = "clientCertPath, clientKeyPath"
        if parameters.client_cert_path:
            # Without a password of ours, an encrypted key would ask for one on the terminal.
            context.load_cert_chain(parameters.client_cert_path, parameters.client_key_path, password="")
    except OSError as error:
        raise ConfigError(f"plugin {name}: {key}: cannot be loaded as PEM: {error}") from error
    return context
