import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from endpoint_picker.config import strict
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer.sources import (
    DcgmSource,
    MetricsSource,
    ModelsSource,
    MulticlusterMetricsSource,
)
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Source, Wiring

SOURCES = [MetricsSource, MulticlusterMetricsSource, ModelsSource, DcgmSource]


def made(kind: Any, **parameters: Any) -> Source:
    decoded = strict.decode(parameters, kind.schema, where="c.yaml")
    plugin: Source = kind("pages", decoded, Wiring(EndpointTable(), Metrics()))
    return plugin


def source(**parameters: Any) -> Source:
    return made(MetricsSource, **parameters)


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


# === the other sources ===


@pytest.mark.parametrize("kind", SOURCES)
def test_every_one_is_a_source(kind: Any) -> None:
    plugin = made(kind)
    assert isinstance(plugin, Source)
    assert plugin.interval is None


@pytest.mark.parametrize(
    ("kind", "parameters", "url"),
    [
        (ModelsSource, {}, "http://10.0.0.1:8000/v1/models"),
        (ModelsSource, {"scheme": "https", "path": "/models"}, "https://10.0.0.1:8000/models"),
        (DcgmSource, {}, "http://10.0.0.1:9400/metrics"),
        (DcgmSource, {"port": "9401", "path": "/gpus"}, "http://10.0.0.1:9401/gpus"),
        (MulticlusterMetricsSource, {}, "https://10.0.0.1:8000/metrics"),
        (MulticlusterMetricsSource, {"scheme": "http", "port": 9090}, "http://10.0.0.1:9090/metrics"),
    ],
)
def test_where_each_looks(kind: Any, parameters: dict[str, Any], url: str) -> None:
    assert str(made(kind, **parameters).url(Endpoint("a", "10.0.0.1", 8000))) == url


@pytest.mark.parametrize(
    ("labels", "url"),
    [
        ({}, "https://gateway.east:8443/metrics"),
        ({"metricsAddress": "metrics.east"}, "https://metrics.east:8443/metrics"),
        ({"metricsAddress": "fd00::2", "metricsPort": "9090"}, "https://[fd00::2]:9090/metrics"),
        ({"metricsPort": "9090"}, "https://gateway.east:9090/metrics"),
        ({"metricsAddress": "", "metricsPort": ""}, "https://gateway.east:8443/metrics"),
    ],
)
@pytest.mark.parametrize("kind", [MetricsSource, MulticlusterMetricsSource])
def test_labels_put_the_metrics_elsewhere(kind: Any, labels: dict[str, str], url: str) -> None:
    endpoint = Endpoint("east", "gateway.east", 8443, labels=labels)
    assert str(made(kind, scheme="https").url(endpoint)) == url


def test_a_label_comes_before_the_parameter() -> None:
    endpoint = Endpoint("a", "10.0.0.1", 8000, labels={"metricsPort": "1"})
    assert str(source(port=2).url(endpoint)) == "http://10.0.0.1:1/metrics"


def test_other_pages_are_where_the_endpoint_serves() -> None:
    endpoint = Endpoint("a", "10.0.0.1", 8000, labels={"metricsAddress": "x", "metricsPort": "1"})
    assert made(ModelsSource).url(endpoint).host == made(DcgmSource).url(endpoint).host == "10.0.0.1"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("metricsPort", "http", "'http' is not a port; write a number from 1 to 65535"),
        ("metricsPort", "0", "'0' is not a port"),
        ("metricsAddress", "metrics.east/x", "'metrics.east/x' is not a host; write its name or IP address"),
        ("metricsAddress", "a@b", "'a@b' is not a host"),
        ("metricsAddress", "[fd00::1]", "'[fd00::1]' is not a host"),
    ],
)
def test_a_label_that_names_no_place_is_an_error(key: str, value: str, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"label {key}: {text}")):
        source().url(Endpoint("a", "10.0.0.1", 8000, labels={key: value}))


def test_another_cluster_is_trusted_by_its_certificate_only() -> None:
    tls = made(MulticlusterMetricsSource).tls
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_REQUIRED
    trusting = made(MulticlusterMetricsSource, insecureSkipVerify=True).tls
    assert trusting is not None
    assert trusting.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("kind", "parameters", "text"),
    [
        (ModelsSource, {"port": 1}, 'unknown key "port"'),
        (ModelsSource, {"path": "models"}, "must begin with a slash"),
        (DcgmSource, {"caCertPath": "x"}, 'unknown key "caCertPath"'),
        (DcgmSource, {"port": 70000}, "port: 70000 is not a port; write a number from 1 to 65535"),
        (DcgmSource, {"useNodeAdress": True}, "useNodeAddress"),
        (DcgmSource, {"interval": "0s"}, "interval: must be more than 0"),
        (MulticlusterMetricsSource, {"clientKeyPath": "x"}, "clientCertPath, clientKeyPath"),
    ],
)
def test_wrong_parameters_of_the_others_are_refused(kind: Any, parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        made(kind, **parameters)


def test_the_address_of_a_node_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    made(DcgmSource, useNodeAddress=True)
    assert "pages: useNodeAddress" in caplog.text
