"""One test for each behaviour of the field's reference that a configuration can rely on.

Where we differ on purpose the test's name says so, and its docstring what the reference does.
"""

import logging
from collections import Counter
from typing import Any

import pytest

from endpoint_picker.config import load
from endpoint_picker.core.attributes import UncachedTokens, prefix_match
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError, ResourceExhausted
from endpoint_picker.core.request import Payload, Request
from tests.fakes.assembling import (
    Document,
    assembled,
    names,
    placed,
    plugin,
    profile,
    profiles,
    source,
    text_of,
    weights,
)
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of


def refusal(document: Document, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        assembled(document, **options)
    return str(caught.value)


def picked(document: Document, table: EndpointTable, **headers: str) -> Decision:
    """Where a request goes."""
    assembly = assembled(document, table)
    payload = Payload("m", prompts=(b"x" * 256,))
    request = Request("r", headers, "/v1/completions", 0.0, payload, target_model="m")
    for producer in assembly.producers:
        producer.produce(request, candidates_of(table))
    return assembly.scheduler.schedule(request, candidates_of(table))


def shares(document: Document, table: EndpointTable) -> Counter[str]:
    """Endpoint → how many of 400 requests without a prompt it gets."""
    schedule = assembled(document, table).scheduler.schedule
    return Counter(schedule(request_with(table), candidates_of(table)).endpoint.name for _ in range(400))


@pytest.mark.parametrize(
    ("document", "near"),
    [
        ({"plugin": []}, 'did you mean "plugins"?'),
        ({"plugins": [plugin("token-load-scorer", queueTresholdTokens=1)]}, '"queueThresholdTokens"?'),
    ],
)
def test_row_1_an_unknown_key_ends_the_start(document: Document, near: str) -> None:
    assert near in refusal(document)


def test_row_2_a_plugin_without_parameters_takes_any() -> None:
    assert weights(assembled({"plugins": [plugin("queue-scorer", junk=[1])]})) == {"queue-scorer": 1.0}


def test_row_3_two_profiles_need_a_handler() -> None:
    assert "no profile handler configured" in refusal({"schedulingProfiles": profiles(a=[], b=[])})


def test_row_4_a_profile_has_one_picker() -> None:
    pickers = [plugin("random-picker"), plugin("max-score-picker")]
    document = {
        "plugins": pickers,
        "schedulingProfiles": profiles(a=placed(*(each["type"] for each in pickers))),
    }
    assert "profile 'a' has more than one picker" in refusal(document)


def test_row_5_what_has_no_effect_in_a_profile_may_stand_there() -> None:
    listed = ["openai-parser", "approx-prefix-cache-producer", "queue-scorer"]
    found = assembled(
        {"plugins": [*map(plugin, listed)], "schedulingProfiles": profiles(default=placed(*listed))}
    )
    assert weights(found) == {"queue-scorer": 1.0}
    assert profile(found).filters == ()


def test_row_6_a_renamed_metrics_source_is_not_doubled_on_purpose() -> None:
    """The reference knows its default source by name, and reads each page twice then."""
    document = {
        "plugins": [plugin("metrics-data-source", "mine"), plugin("core-metrics-extractor", "core")],
        "dataLayer": {"sources": [source("mine", "core")]},
    }
    (feed,) = assembled(document).feeds
    assert (feed.source.name, names(feed.extractors)) == ("mine", ["core"])


def test_row_7_somebody_must_read_the_endpoints() -> None:
    said = refusal({"dataLayer": {"injectDefaults": False}})
    assert "data layer enabled but no data sources configured" in said


def test_row_8_a_gate_may_be_closed_by_name() -> None:
    config = load.load(text_of({"featureGates": ["flowControl=false"]}), "epp.yaml")
    assert not config.gates["flowControl"]


def test_row_9_without_the_gate_flow_control_is_ignored_but_for_its_detector(
    caplog: pytest.LogCaptureFixture,
) -> None:
    document = {
        "plugins": [plugin("concurrency-detector", "full"), plugin("queue-scorer")],
        "schedulingProfiles": profiles(default=placed("queue-scorer")),
        "flowControl": {
            "maxRequests": "1k",
            "usageLimitPolicyPluginRef": "static-usage-limit-policy",
            "defaultPriorityBand": {"orderingPolicyRef": "fcfs-ordering-policy"},
            "saturationDetector": {"pluginRef": "full"},
        },
    }
    assembly = assembled(document)
    assert names([assembly.detector]) == ["full"]
    told = [each for each in caplog.records if "flowControl is ignored" in each.getMessage()]
    assert [each.levelno for each in told] == [logging.WARNING]


def test_row_10_an_alpha_plugin_needs_the_flag() -> None:
    document = {"plugins": [plugin("session-affinity-scorer")]}
    assert "session-affinity-scorer has Alpha stability level" in refusal(document)
    assert assembled(document, allow_experimental=True).instances


def stages(*producers: Document, **decider: int) -> Document:
    """Prefill and decode, with a decider that goes by the prefix."""
    return {
        "plugins": [
            plugin("disagg-profile-handler", deciders={"prefill": "prefix-based-pd-decider"}),
            plugin("prefix-based-pd-decider", "", **decider),
            *map(plugin, ("prefill-filter", "decode-filter")),
            *producers,
        ],
        "schedulingProfiles": profiles(prefill=placed("prefill-filter"), decode=placed("decode-filter")),
    }


@pytest.mark.parametrize(("least", "prefilled"), [({}, False), ({"nonCachedTokens": 16}, True)])
def test_row_11_zero_uncached_tokens_never_disaggregate(least: dict[str, int], prefilled: bool) -> None:
    table = table_of([Gauges()] * 2, [{"llm-d.ai/role": role} for role in ("decode", "prefill")])
    decision = picked(stages(**least), table)
    assert decision.endpoint.name == "pod-0"
    assert (decision.prefill is not None) == prefilled


def test_row_12_a_decider_reads_the_producer_that_is_configured_on_purpose() -> None:
    """The reference adds one of a fixed name, and its deciders read that."""
    document = stages(plugin("approx-prefix-cache-producer", "exact"), nonCachedTokens=16)
    assembly = assembled(document)
    assert names(assembly.producers) == ["token-producer", "exact", "inflight-load-producer"]
    assert assembly.match == prefix_match("exact")


def test_row_13_small_blocks_are_made_64() -> None:
    document = {"plugins": [plugin("approx-prefix-cache-producer", autoTune=False, blockSizeTokens=5)]}
    producer: Any = assembled(document).instances["approx-prefix-cache-producer"]
    assert producer.block_size == 64


@pytest.mark.parametrize("weight", [0, -2.5])
def test_row_14_weights_count_as_they_are_written(weight: float) -> None:
    document = {
        "plugins": [plugin("queue-scorer")],
        "schedulingProfiles": profiles(default=[{"pluginRef": "queue-scorer", "weight": weight}]),
    }
    assert weights(assembled(document)) == {"queue-scorer": weight}
    picks = shares(document, table_of([Gauges(waiting=9), Gauges(waiting=0)]))
    assert picks.keys() == ({"pod-0", "pod-1"} if weight == 0 else {"pod-0"})


def test_row_15_among_equals_the_choice_is_random() -> None:
    picks = shares({"plugins": [plugin("queue-scorer")]}, table_of([Gauges()] * 4))
    assert len(picks) == 4
    assert min(picks.values()) > 50


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_row_16_an_empty_document_is_load_and_cache_hits(text: str) -> None:
    config = load.load(text)
    assert [placed.weight for placed in config.profiles[0].plugins] == [2.0, 2.0, 3.0]


def test_row_17_token_load_gets_what_it_needs_on_purpose() -> None:
    """The reference has no default producer for uncached tokens, and does not start."""
    table = table_of([Gauges()] * 2)
    assembly = assembled({"plugins": [plugin("token-load-scorer")]}, table)
    assert names(assembly.producers) == ["token-producer", "inflight-load-producer"]
    assert isinstance(assembly.charge, tuple)
    request = Request("r", {}, "/v1/completions", 0.0, Payload("m", prompts=(b"x" * 400,)))
    for producer in assembly.producers:
        producer.produce(request, candidates_of(table))
    assert request.attributes.read(assembly.charge) == UncachedTokens(100, None, 0)


def test_row_18_the_version_that_newer_guides_write_loads_on_purpose() -> None:
    """The reference does not start."""
    assert load.load("apiVersion: llm-d.ai/v1\nkind: EndpointPickerConfig\n", "epp.yaml").source == "epp.yaml"


def test_row_19_the_testing_filter_keeps_nobody_without_its_header() -> None:
    document = {"plugins": [plugin("header-based-testing-filter")]}
    table = table_of([Gauges()] * 2)
    with pytest.raises(ResourceExhausted) as caught:
        picked(document, table)
    assert caught.value.status == 429
    asked = picked(document, table, **{"test-epp-endpoint-selection": "10.0.0.1"})
    assert asked.endpoint.name == "pod-1"


def test_row_20_a_replica_that_was_never_read_is_neither_idle_nor_full_on_purpose() -> None:
    """The reference takes it for idle when it scores, and for full when it counts what is full."""
    table = EndpointTable(capacity=4)
    table.replace([endpoint(0), endpoint(1)])
    assembly = assembled({"plugins": [plugin("kv-cache-utilization-scorer")]}, table)
    kv: Any = assembly.instances["kv-cache-utilization-scorer"]
    assert kv.score(request_with(table), candidates_of(table)).tolist() == [0.5, 0.5]
    assert assembly.detector.saturation(candidates_of(table)) < 1.0
