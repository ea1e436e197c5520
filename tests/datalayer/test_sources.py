import ssl
from pathlib import Path
from typing import Any

import pytest

from endpoint_picker.config import strict
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer.sources import MetricsParameters, MetricsSource
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring


def source(**parameters: Any) -> MetricsSource:
    decoded = strict.decode(parameters, MetricsParameters, where="c.yaml")
    return MetricsSource("pages", decoded, Wiring(EndpointTable(), Metrics()))


@pytest.mark.parametrize(
    ("parameters", "address", "url"),
    [
        ({}, "10.0.0.1", "http://10.0.0.1:8000/metrics"),
        ({"port": 9400}, "10.0.0.1", "http://10.0.0.1:9400/metrics"),
        ({"port": "9400"}, "10.0.0.1", "http://10.0.0.1:9400/metrics"),
        ({"path": "/prometheus/metrics"}, "fd00::1", "http://[fd00::1]:8000/prometheus/metrics"),
        ({"scheme": "https"}, "10.0.0.1", "https://10.0.0.1:8000/metrics"),
    ],
)
def test_the_address_of_a_page(parameters: dict[str, Any], address: str, url: str) -> None:
    assert str(source(**parameters).url(Endpoint("a", address, 8000))) == url


def test_an_interval_is_a_time() -> None:
    assert source(interval="500ms").interval == 0.5
    assert source().interval is None


def test_http_needs_no_tls_and_https_trusts_anybody_unless_told() -> None:
    assert source().tls is None
    trusting = source(scheme="https").tls
    assert trusting is not None
    assert trusting.verify_mode is ssl.CERT_NONE
    strict_one = source(scheme="https", insecureSkipVerify=False).tls
    assert strict_one is not None
    assert strict_one.verify_mode is ssl.CERT_REQUIRED
    assert strict_one.check_hostname


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"scheme": "ftp"}, "scheme"),
        ({"path": "metrics"}, "path: 'metrics' must begin with a slash"),
        ({"port": 0}, "port: 0"),
        ({"port": "http"}, "port: 'http'"),
        ({"clientCertPath": "x"}, "clientKeyPath"),
        ({"interval": "0s"}, "interval"),
        ({"interval": "soon"}, "soon"),
        ({"skipVerify": True}, "insecureSkipVerify"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        source(**parameters)


def test_a_certificate_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    junk = tmp_path / "ca.pem"
    junk.write_text("no certificate")
    with pytest.raises(ConfigError, match="pages: caCertPath"):
        source(scheme="https", caCertPath=str(junk))
    with pytest.raises(ConfigError, match="clientCertPath"):
        source(scheme="https", clientCertPath=str(junk), clientKeyPath=str(tmp_path / "none"))
