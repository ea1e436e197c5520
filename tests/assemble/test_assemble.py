"""Configurations → what runs: what is filled in, and what is ignored with a warning."""

import logging

import pytest

from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.config import load
from endpoint_picker.core import attributes
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.datalayer.discovery import FileDiscovery
from endpoint_picker.plugin import ProfileHandler
from tests.fakes.assembling import (
    Document,
    assembled,
    names,
    placed,
    plugin,
    profile,
    source,
    text_of,
    weights,
)
from tests.fakes.pool import candidates_of, table_of, wiring_of


def test_without_a_file_the_default_profile_runs() -> None:
    assembly = assembled()
    assert weights(assembly) == {"prefill-work-scorer": 1.0}
    assert profile(assembly).picker.type == "max-score-picker"
    assert isinstance(assembly.scheduler.handler, ProfileHandler)
    assert names(assembly.producers) == [
        "token-producer",
        "approx-prefix-cache-producer",
        "inflight-load-producer",
    ]
    assert names(assembly.parsers) == [
        "openai-parser",
        "anthropic-parser",
        "vllmhttp-parser",
        "passthrough-parser",
    ]
    (feed,) = assembly.feeds
    assert feed.source.name == "metrics-data-source"
    assert [extractor.name for extractor in feed.extractors] == ["core-metrics-extractor"]
    assert assembly.discovery is None
    assert assembly.charge == attributes.uncached_tokens("inflight-load-producer")


def test_the_default_configuration_picks() -> None:
    table = table_of([Gauges(waiting=9, kv_usage=0.9), Gauges(waiting=0, kv_usage=0.1)])
    assembly = assembled(table=table)
    request = Request("r", {}, "/v1/completions", 0.0, Payload("m", prompts=(b"x" * 4096,)), target_model="m")
    for producer in assembly.producers:
        producer.produce(request, candidates_of(table))
    decision = assembly.scheduler.schedule(request, candidates_of(table))
    assert decision.endpoint.name == "pod-1"
    cost = request.attributes.read(assembly.charge)
    assert cost is not None
    assert cost.at(decision.row) == 1024


# === parsers ===


def test_parsers_are_those_that_are_named() -> None:
    document = {
        "plugins": [plugin("openai-parser", "mine")],
        "requestHandler": {"parsers": placed("passthrough-parser", "mine")},
    }
    assert names(assembled(document).parsers) == ["passthrough-parser", "mine"]
    assert names(assembled({"parser": {"pluginRef": "openai-parser"}}).parsers) == ["openai-parser"]


# === data layer ===


def pairs(assembly: Assembly) -> list[tuple[str, list[str]]]:
    return [(feed.source.name, names(feed.extractors)) for feed in assembly.feeds]


def test_declared_instances_of_default_names_are_used_for_the_default_feed() -> None:
    pages = plugin("metrics-data-source", path="/prometheus/metrics")
    assembly = assembled({"plugins": [pages, plugin("core-metrics-extractor", defaultEngine="sglang")]})
    assert pairs(assembly) == [("metrics-data-source", ["core-metrics-extractor"])]
    assert id(assembly.feeds[0].source) == id(assembly.instances["metrics-data-source"])
    assert assembly.instances["metrics-data-source"].parameters.path == "/prometheus/metrics"


@pytest.mark.parametrize(
    ("inject", "name", "expected"),
    [
        (True, "metrics-data-source", [("metrics-data-source", ["core"])]),
        (True, "mine", [("mine", ["core"])]),
        (False, "mine", [("mine", ["core"])]),
    ],
)
def test_the_default_feed_comes_unless_a_source_has_its_type(
    inject: bool, name: str, expected: list[tuple[str, list[str]]]
) -> None:
    document = {
        "plugins": [plugin("metrics-data-source", name), plugin("core-metrics-extractor", "core")],
        "dataLayer": {"injectDefaults": inject, "sources": [source(name, "core")]},
    }
    assert pairs(assembled(document)) == expected


GPUS = [plugin("dcgm-data-source", "gpus"), plugin("dcgm-extractor"), plugin("models-data-extractor")]


@pytest.mark.parametrize(
    ("inject", "expected"),
    [
        (True, [("gpus", ["dcgm-extractor"]), ("metrics-data-source", ["core-metrics-extractor"])]),
        (False, [("gpus", ["dcgm-extractor"])]),
    ],
)
def test_other_sources_do_not_stand_for_the_default_feed(
    inject: bool, expected: list[tuple[str, list[str]]]
) -> None:
    layer = {"injectDefaults": inject, "sources": [source("gpus", "dcgm-extractor")]}
    assembly = assembled({"plugins": GPUS, "dataLayer": layer}, allow_experimental=True)
    assert pairs(assembly) == expected


def test_a_source_may_have_several_extractors() -> None:
    layer = {"sources": [source("gpus", "dcgm-extractor", "models-data-extractor")]}
    assembly = assembled({"plugins": GPUS, "dataLayer": layer}, allow_experimental=True)
    assert pairs(assembly)[0] == ("gpus", ["dcgm-extractor", "models-data-extractor"])


def test_a_topology_needs_no_source() -> None:
    document = {"plugins": [plugin("topology-extractor")], "dataLayer": {"injectDefaults": False}}
    assembly = assembled(document, allow_experimental=True)
    assert assembly.feeds == ()
    assert "topology-extractor" in names(assembly.producers)


def test_parsers_of_the_other_dialects_are_made_where_they_are_named() -> None:
    types = ("sglanghttp-parser", "vllmgrpc-parser", "vertexai-parser")
    assert names(assembled({"requestHandler": {"parsers": placed(*types)}}).parsers) == list(types)


@pytest.mark.parametrize("kind", ["file-discovery", "multicluster-file-discovery"])
def test_discovery_is_the_plugin_that_is_named(kind: str) -> None:
    document = {
        "plugins": [plugin(kind, "pool", path="endpoints.yaml")],
        "dataLayer": {"discovery": {"pluginRef": "pool"}},
    }
    found = assembled(document, allow_experimental=True).discovery
    assert isinstance(found, FileDiscovery)
    assert found.name == "pool"


# === warnings ===


@pytest.mark.parametrize("lenient", ["load", "assemble"])
def test_lenient_reaches_the_parameters(lenient: str, caplog: pytest.LogCaptureFixture) -> None:
    text = text_of({"plugins": [plugin("prefix-cache-scorer", junk=1)]})
    config = load.load(text, "epp.yaml", lenient=lenient == "load")
    assemble(config, wiring_of(EndpointTable()), lenient=lenient == "assemble")
    assert 'unknown key "parameters.junk"' in caplog.text


@pytest.mark.parametrize(
    "document",
    [
        {"featureGates": ["flowControl"]},
        {"flowControl": {"maxBytes": "10Gi", "priorityBands": [{"priority": 1, "fairnessPolicyRef": "x"}]}},
    ],
)
def test_flow_control_is_ignored_with_one_warning(
    document: Document, caplog: pytest.LogCaptureFixture
) -> None:
    assembled(document)
    told = [each for each in caplog.records if "flow control is not in this version" in each.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]


@pytest.mark.parametrize(
    "document",
    [
        None,
        {"plugins": [plugin("queue-scorer")]},
        {"featureGates": ["flowControl=false"]},
        {"flowControl": {"saturationDetector": {"pluginRef": "utilization-detector"}}},
    ],
)
def test_nothing_is_warned_of_without_a_reason(
    document: Document | None, caplog: pytest.LogCaptureFixture
) -> None:
    assembled(document)
    assert caplog.records == []
