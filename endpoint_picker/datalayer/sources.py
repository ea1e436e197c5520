"""Says where the pages about a replica are, and how to speak to whoever has them."""

import logging
import re
import ssl
from typing import Final, Literal

from yarl import URL

from endpoint_picker.config.units import Duration
from endpoint_picker.core.endpoints import Endpoint, join_host_port
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

HIGHEST_PORT: Final = 65535
METRICS_ADDRESS: Final = "metricsAddress"
METRICS_PORT: Final = "metricsPort"
"""Labels of an endpoint whose metrics are at another place than it serves from."""

_HOST: Final = re.compile(r"[\w.:-]+", re.ASCII)
"""A name or an IP address, or what is at least no other part of a URL."""


class PageParameters(Parameters, frozen=True):
    """Parameters of every source."""

    scheme: Literal["http", "https"] = "http"
    path: str = "/metrics"
    insecure_skip_verify: bool = True
    interval: Duration | None = None
    """Rounded to a multiple of the base interval; None: every time."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path: {self.path!r} must begin with a slash, as in /metrics")
        if self.interval is not None and self.interval <= 0:
            raise ValueError("interval: must be more than 0, such as 200ms")


class CertifiedParameters(PageParameters, frozen=True):
    """Parameters of sources that may prove who they are."""

    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.client_cert_path) != bool(self.client_key_path):
            raise ValueError("clientCertPath, clientKeyPath: one is useless without the other; give both")


class MetricsParameters(CertifiedParameters, frozen=True):
    """Parameters of `metrics-data-source`."""

    port: int | str | None = None
    """Where metrics have a port of their own; else the endpoint's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_port(self.port)


class MulticlusterParameters(MetricsParameters, frozen=True):
    """Parameters of `multicluster-metrics-data-source`: between clusters nobody is trusted unseen."""

    scheme: Literal["http", "https"] = "https"
    insecure_skip_verify: bool = False


class ModelsParameters(CertifiedParameters, frozen=True):
    """Parameters of `models-data-source`."""

    path: str = "/v1/models"


class DcgmParameters(PageParameters, frozen=True):
    """Parameters of `dcgm-data-source`."""

    port: int | str = 9400
    use_node_address: bool = False
    """Ask the exporter of the node instead of one beside the replica."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_port(self.port)


class _HttpSource(Plugin):
    """A page of each endpoint over HTTP."""

    def __init__(self, name: str, parameters: PageParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self.interval: float | None = parameters.interval
        """Seconds between two readings; None: the base interval."""
        self.tls: ssl.SSLContext | None = _context(name, parameters) if parameters.scheme == "https" else None
        self._port = int(getattr(parameters, "port", None) or 0)

    def url(self, endpoint: Endpoint) -> URL:
        """Address of the endpoint's page."""
        return self._url(endpoint.address, self._port or endpoint.port)

    def _url(self, host: str, port: int) -> URL:
        return URL(f"{self.parameters.scheme}://{join_host_port(host, port)}{self.parameters.path}")


class MetricsSource(_HttpSource):
    """`metrics-data-source`: the metrics page of each endpoint."""

    type = "metrics-data-source"
    schema = MetricsParameters

    def url(self, endpoint: Endpoint) -> URL:
        """Address of the page; labels may put it elsewhere. Raises ValueError for a wrong one."""
        port = endpoint.labels.get(METRICS_PORT, "")
        if not _is_port(port):
            raise ValueError(f"label {METRICS_PORT}: {_why_no_port(port)}")
        host = endpoint.labels.get(METRICS_ADDRESS) or endpoint.address
        if not _HOST.fullmatch(host):
            raise ValueError(f"label {METRICS_ADDRESS}: {host!r} is not a host; write its name or IP address")
        return self._url(host, int(port or self._port or endpoint.port))


class MulticlusterMetricsSource(MetricsSource):
    """`multicluster-metrics-data-source`: the metrics page of another cluster's picker."""

    type = "multicluster-metrics-data-source"
    stability = "alpha"
    schema = MulticlusterParameters


class ModelsSource(_HttpSource):
    """`models-data-source`: the models that each endpoint serves."""

    type = "models-data-source"
    schema = ModelsParameters


class DcgmSource(_HttpSource):
    """`dcgm-data-source`: the page of NVIDIA's GPU exporter."""

    type = "dcgm-data-source"
    stability = "alpha"
    schema = DcgmParameters

    def __init__(self, name: str, parameters: DcgmParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        if parameters.use_node_address:
            log.warning(
                "%s: useNodeAddress: nobody tells the address of nodes in this version; the endpoint's own "
                "is asked",
                name,
            )


def _is_port(value: int | str | None) -> bool:
    text = "" if value is None else str(value)
    return not text or (
        text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= HIGHEST_PORT
    )


def _why_no_port(value: object) -> str:
    return f"{value!r} is not a port; write a number from 1 to {HIGHEST_PORT}"


def _check_port(value: int | str | None) -> None:
    if not _is_port(value):
        raise ValueError(f"port: {_why_no_port(value)}")


def _context(name: str, parameters: PageParameters) -> ssl.SSLContext:
    """TLS as the parameters ask for it. Raises ConfigError that names the file."""
    context = ssl.create_default_context()
    if parameters.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if isinstance(parameters, CertifiedParameters):
        _load(context, name, parameters)
    return context


def _load(context: ssl.SSLContext, name: str, parameters: CertifiedParameters) -> None:
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
