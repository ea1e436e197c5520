"""Configurations → what runs: what is filled in, what is refused, and in which order producers run."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from endpoint_picker import catalog
from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.catalog import Catalog
from endpoint_picker.config import load
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import Key
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Gauges, Mask, Vector
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.datalayer.discovery import FileDiscovery
from endpoint_picker.plugin import Plugin, ProfileHandler
from endpoint_picker.scheduling.profile import WeightedProfile
from tests.fakes.pool import candidates_of, table_of, wiring_of

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
SAMPLES = Path(__file__).parents[1].parent / "shared" / "golden" / "epp-configs"
MISSING = {
    "dp-epp-config": "data-parallel-profile-handler",
    "epp-burst-prefix-cache-config": "vllm",
    "epp-estimate-prefix-cache-config": "load-aware-scorer",
    "epp-mm-embeddings-cache-config": "vllm",
    "epp-precise-prefix-cache-config": "vllm",
    "pd-epp-config": "disagg-profile-handler",
    "pd-topology-epp-config": "topology-extractor",
    "probabilistic-admitter-epp-config": "probabilistic-admitter",
    "sim-e-p-d-epp-config": "encode-filter",
    "sim-e-pd-epp-config": "encode-filter",
    "sim-epp-gpu-config": "dcgm-data-source",
    "sim-epp-kvcache-config": "vllm",
    "sim-epp-no-hit-lru": "precise-prefix-cache-producer",
    "sim-epp-tokenizer-vllm-http-config": "vllm",
    "sim-pd-epp-config": "prefix-based-pd-decider",
    "sim-program-aware-config": "program-aware-fairness",
    "soft-reflective-ceiling-epp-config": "soft-reflective-ceiling-policy",
}
"""Sample configuration → what of it this version does not have."""


def assembled(text: str = "", table: EndpointTable | None = None, **options: Any) -> Assembly:
    """The text, with the envelope put in front unless it is empty."""
    config = load.load(HEAD + text if text else "", "epp.yaml")
    return assemble(config, wiring_of(table or EndpointTable()), **options)


def refusal(text: str, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        assembled(text, **options)
    return str(caught.value)


def profile(assembly: Assembly, name: str = "default") -> WeightedProfile:
    found = assembly.scheduler.profiles[name]
    assert isinstance(found, WeightedProfile)
    return found


def weights(assembly: Assembly, name: str = "default") -> dict[str, float]:
    return {scoring.name: scoring.weight for scoring in profile(assembly, name).scorers}


def names(plugins: Sequence[object]) -> list[str]:
    return [plugin.name for plugin in plugins if isinstance(plugin, Plugin)]


# === what is filled in ===


def test_without_a_file_the_default_profile_runs() -> None:
    assembly = assembled()
    assert weights(assembly) == {
        "queue-scorer": 2.0,
        "kv-cache-utilization-scorer": 2.0,
        "prefix-cache-scorer": 3.0,
    }
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
    assert int(cost.prompt[decision.row]) == 1024


def test_without_profiles_every_filter_scorer_and_picker_joins_one() -> None:
    assembly = assembled(
        "plugins: [{type: queue-scorer}, {type: decode-filter}, {type: random-picker}, {type: token-producer}]"
    )
    assert weights(assembly) == {"queue-scorer": 1.0}
    assert [keeping.name for keeping in profile(assembly).filters] == ["decode-filter"]
    assert profile(assembly).picker.name == "random-picker"


def test_a_profile_without_picker_gets_one_that_is_declared() -> None:
    text = """
plugins: [{type: queue-scorer}, {type: random-picker, name: any}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: -1.5}]}]
"""
    assembly = assembled(text)
    assert profile(assembly).picker.name == "any"
    assert weights(assembly) == {"queue-scorer": -1.5}
    assert "max-score-picker" not in assembly.instances


def test_filters_run_as_listed() -> None:
    text = """
plugins: [{type: decode-filter}, {type: prefill-filter}, {type: label-selector-filter, name: zone}]
schedulingProfiles: [{name: p, plugins: [{pluginRef: zone}, {pluginRef: prefill-filter}, {pluginRef: decode-filter}]}]
"""
    found = profile(assembled(text), "p").filters
    assert [keeping.name for keeping in found] == ["zone", "prefill-filter", "decode-filter"]


def test_a_profile_may_list_what_has_no_effect_there() -> None:
    text = """
plugins: [{type: queue-scorer}, {type: tokenizer}, {type: openai-parser}, {type: single-profile-handler, parameters: {junk: 1}}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: tokenizer}, {pluginRef: openai-parser}, {pluginRef: single-profile-handler}, {pluginRef: queue-scorer}]}
"""
    assembly = assembled(text)
    assert weights(assembly) == {"queue-scorer": 1.0}
    assert profile(assembly).filters == ()


def test_an_old_type_name_writes_the_facts_of_today() -> None:
    assembly = assembled("plugins: [{type: tokenizer}, {type: prefix-cache-scorer}]")
    assert names(assembly.producers).count("token-producer") == 1
    assert "token-producer" not in assembly.instances


def test_two_instances_of_a_type_live_side_by_side() -> None:
    text = """
plugins:
- {type: approx-prefix-cache-producer, name: gpu}
- {type: prefix-cache-scorer, name: exact, parameters: {prefixMatchInfoProducerName: gpu}}
- {type: prefix-cache-scorer, name: guess}
schedulingProfiles: [{name: default, plugins: [{pluginRef: exact, weight: 3}, {pluginRef: guess, weight: 0.5}]}]
"""
    assembly = assembled(text)
    assert weights(assembly) == {"exact": 3.0, "guess": 0.5}
    assert set(names(assembly.producers)) == {
        "gpu",
        "token-producer",
        "approx-prefix-cache-producer",
        "inflight-load-producer",
    }


@pytest.mark.parametrize("scorer", ["token-load-scorer", "active-request-scorer", "queue-scorer"])
def test_an_in_flight_producer_is_always_there_and_knows_the_prompt(scorer: str) -> None:
    assembly = assembled(f"plugins: [{{type: {scorer}}}]")
    assert names(assembly.producers) == ["token-producer", "inflight-load-producer"]


def test_the_ledger_charges_by_the_in_flight_producer_that_is_declared() -> None:
    text = "plugins: [{type: inflight-load-producer, name: mine}, {type: queue-scorer}]"
    assembly = assembled(text)
    assert assembly.charge == attributes.uncached_tokens("mine")
    assert names(assembly.producers) == ["token-producer", "mine"]


def test_parsers_are_those_that_are_named() -> None:
    text = "plugins: [{type: openai-parser, name: mine}]\nrequestHandler: {parsers: [{pluginRef: passthrough-parser}, {pluginRef: mine}]}"
    assert names(assembled(text).parsers) == ["passthrough-parser", "mine"]
    assert names(assembled("parser: {pluginRef: openai-parser}").parsers) == ["openai-parser"]


# === data layer ===


def pairs(assembly: Assembly) -> list[tuple[str, list[str]]]:
    return [(feed.source.name, [each.name for each in feed.extractors]) for feed in assembly.feeds]


def test_declared_instances_of_default_names_are_used_for_the_default_feed() -> None:
    text = """
plugins:
- {type: metrics-data-source, parameters: {path: /prometheus/metrics}}
- {type: core-metrics-extractor, parameters: {defaultEngine: sglang}}
"""
    assembly = assembled(text)
    assert pairs(assembly) == [("metrics-data-source", ["core-metrics-extractor"])]
    assert assembly.feeds[0].source is assembly.instances["metrics-data-source"]
    assert assembly.instances["metrics-data-source"].parameters.path == "/prometheus/metrics"


@pytest.mark.parametrize(
    ("inject", "name", "expected"),
    [
        ("true", "metrics-data-source", [("metrics-data-source", ["core"])]),
        ("true", "mine", [("mine", ["core"]), ("metrics-data-source", ["core-metrics-extractor"])]),
        ("false", "mine", [("mine", ["core"])]),
    ],
)
def test_the_default_feed_comes_unless_a_source_has_its_name(
    inject: str, name: str, expected: list[tuple[str, list[str]]]
) -> None:
    text = f"""
plugins: [{{type: metrics-data-source, name: {name}}}, {{type: core-metrics-extractor, name: core}}]
dataLayer: {{injectDefaults: {inject}, sources: [{{pluginRef: {name}, extractors: [{{pluginRef: core}}]}}]}}
"""
    assert pairs(assembled(text)) == expected


def test_discovery_is_the_plugin_that_is_named() -> None:
    text = """
plugins: [{type: file-discovery, name: pool, parameters: {path: endpoints.yaml}}]
dataLayer: {discovery: {pluginRef: pool}}
"""
    found = assembled(text).discovery
    assert isinstance(found, FileDiscovery)
    assert found.name == "pool"


# === what is refused ===


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "plugins: [{type: queue-scorrer}]",
            'plugin "queue-scorrer": plugin type \'queue-scorrer\' is not registered; did you mean "queue-scorer"?',
        ),
        (
            "plugins: [{type: utilization-detector}]",
            "plugin type 'utilization-detector' is not in this version",
        ),
        (
            "plugins: [{type: prefix-cache-scorer, name: p, parameters: {matchLenghtWeight: 1}}]",
            'epp.yaml: plugin "p" (type prefix-cache-scorer): unknown key "parameters.matchLenghtWeight"; did you mean "matchLengthWeight"?',
        ),
        (
            "plugins: [{type: prefix-cache-scorer, parameters: {matchLengthWeight: 2}}]",
            "matchLengthWeight is 2.0; write a number from 0 to 1",
        ),
        ("schedulingProfiles: [{name: a}, {name: b}]", "no profile handler configured"),
        (
            "plugins: [{type: single-profile-handler}]\nschedulingProfiles: [{name: a}, {name: b}]",
            "SingleProfileHandler cannot support multiple scheduling profiles",
        ),
        (
            "plugins: [{type: single-profile-handler}, {type: single-profile-handler, name: x}]",
            "multiple profile handlers found: single-profile-handler, x",
        ),
        (
            "plugins: [{type: random-picker}, {type: max-score-picker}]",
            "profile 'default' has more than one picker: random-picker, max-score-picker",
        ),
        (
            "schedulingProfiles: [{name: a, plugins: [{}]}]",
            "schedulingProfiles[0].plugins[0]: pluginRef is empty",
        ),
        (
            "plugins: [{type: queue-scorer, name: queue}]\nschedulingProfiles: [{name: a, plugins: [{pluginRef: queu}]}]",
            "schedulingProfiles[0].plugins[0]: the plugin 'queu' is not declared in plugins; did you mean \"queue\"?",
        ),
        (
            "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}]",
            "the plugin 'queue-scorer' is not declared; add - type: queue-scorer to plugins",
        ),
        (
            "plugins: [{type: queue-scorer, name: token-producer}, {type: prefix-cache-scorer}]",
            'plugin "token-producer" has the type queue-scorer, but the name is needed for a token-producer',
        ),
        (
            "plugins: [{type: prefix-cache-scorer, name: p, parameters: {prefixMatchInfoProducerName: kw}}, {type: approx-prefix-cache-producer, name: kv}]",
            'no default producer found for missing data key PrefixCacheMatchInfo/kw, consumed by p; did you mean "kv"?',
        ),
        (
            "plugins: [{type: token-producer, parameters: {vllm: {url: 'http://x:1'}, modelName: m}}]",
            'plugin "token-producer" (type token-producer)',
        ),
        (
            "requestHandler: {parsers: [{pluginRef: open-ai}]}",
            "requestHandler.parsers[0]: the plugin 'open-ai' is not declared in plugins",
        ),
        (
            "plugins: [{type: queue-scorer}]\nrequestHandler: {parsers: [{pluginRef: queue-scorer}]}",
            "the plugin 'queue-scorer' (type queue-scorer) is not a parser",
        ),
        ("requestHandler: {parsers: [{}]}", "requestHandler.parsers[0]: pluginRef is empty"),
        ("dataLayer: {injectDefaults: false}", "data layer enabled but no data sources configured"),
        (
            "dataLayer: {sources: [{pluginRef: nobody}]}",
            "dataLayer.sources[0]: the plugin 'nobody' is not declared",
        ),
        (
            "plugins: [{type: queue-scorer}]\ndataLayer: {sources: [{pluginRef: queue-scorer}]}",
            "is not a data source",
        ),
        (
            "plugins: [{type: metrics-data-source}, {type: queue-scorer}]\ndataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: queue-scorer}]}]}",
            "dataLayer.sources[0].extractors[0]: the plugin 'queue-scorer' (type queue-scorer) is not a extractor",
        ),
        (
            "plugins: [{type: metrics-data-source}, {type: core-metrics-extractor}, {type: core-metrics-extractor, name: x}]\ndataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}, {pluginRef: x}]}]}",
            "a second extractor of the type core-metrics-extractor",
        ),
        (
            "plugins: [{type: queue-scorer}]\ndataLayer: {discovery: {pluginRef: queue-scorer}}",
            "dataLayer.discovery: the plugin 'queue-scorer' (type queue-scorer) is not a discovery plugin",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    found = refusal(text)
    assert message in found
    assert found.startswith("epp.yaml: ")


@pytest.mark.parametrize("lenient", ["load", "assemble"])
def test_lenient_reaches_the_parameters(lenient: str, caplog: pytest.LogCaptureFixture) -> None:
    text = HEAD + "plugins: [{type: prefix-cache-scorer, parameters: {junk: 1}}]"
    config = load.load(text, "epp.yaml", lenient=lenient == "load")
    assemble(config, wiring_of(EndpointTable()), lenient=lenient == "assemble")
    assert 'unknown key "parameters.junk"' in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "flowControl: {saturationDetector: {pluginRef: utilization-detector}}",
        "saturationDetector: {pluginRef: utilization-detector}",
        "featureGates: [flowControl]",
        "flowControl: {maxBytes: 10Gi, usageLimitPolicyPluginRef: x, priorityBands: [{priority: 1, fairnessPolicyRef: y}]}",
    ],
)
def test_flow_control_is_ignored_with_one_warning(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assembled(text)
    warnings = [
        record for record in caplog.records if "flow control is not in this version" in record.getMessage()
    ]
    assert len(warnings) == 1
    assert warnings[0].levelno == logging.WARNING


@pytest.mark.parametrize("text", ["", "plugins: [{type: queue-scorer}]", "featureGates: [flowControl=false]"])
def test_nothing_is_warned_of_without_a_reason(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assembled(text)
    assert caplog.records == []


# === samples ===


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample configurations are not here")
@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sample_runs_or_names_what_is_missing(sample: Path) -> None:
    config = load.load_file(sample)
    wiring = wiring_of(EndpointTable())
    missing = MISSING.get(sample.stem)
    if missing is None:
        assert assemble(config, wiring).producers
        return
    with pytest.raises(ConfigError, match="not in this version") as caught:
        assemble(config, wiring, allow_experimental=True)
    assert missing in str(caught.value)


# === order and plugins of other packages ===


def fact(name: str) -> Key[int]:
    return Key("Fact", name)


def producer(name: str, requires: Sequence[str] = (), reads: Sequence[str] = ()) -> type[Plugin]:
    """A producer of one fact of its own name."""

    class Sample(Plugin):
        type = name

        def requires(self) -> Sequence[Key[Any]]:
            return [fact(each) for each in requires]

        def reads(self) -> Sequence[Key[Any]]:
            return [fact(each) for each in reads]

        def produces(self) -> Sequence[Key[Any]]:
            return [fact(self.name)]

        def produce(self, request: Request, candidates: Candidates) -> None:
            return

        def learn(self, request: Request, decision: Decision) -> None:
            return

    return Sample


def with_types(*kinds: type[Plugin]) -> Catalog:
    return Catalog({**catalog.TABLE, **{kind.type: kind for kind in kinds}})


def declared(*kinds: type[Plugin]) -> str:
    return "plugins: [" + ", ".join(f"{{type: {kind.type}}}" for kind in kinds) + "]"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("edge", ["requires", "reads"])
def test_producers_run_after_those_whose_facts_they_look_at(edge: str, reverse: bool) -> None:
    link: Callable[[str, str], type[Plugin]] = lambda name, other: producer(name, **{edge: [other]})  # noqa: E731
    kinds = [link("c", "b"), link("b", "a"), producer("a")]
    if reverse:
        kinds.reverse()
    found = assembled(declared(*kinds), catalog=with_types(*kinds))
    assert [name for name in names(found.producers) if len(name) == 1] == ["a", "b", "c"]


def test_unrelated_producers_keep_the_order_of_the_configuration() -> None:
    kinds = [producer(name) for name in "dbca"]
    found = assembled(declared(*kinds), catalog=with_types(*kinds))
    assert names(found.producers)[:4] == ["d", "b", "c", "a"]


def test_a_cycle_of_producers_is_refused() -> None:
    kinds = [producer("a", reads="b"), producer("b", requires="a"), producer("c")]
    text = refusal(declared(*kinds), catalog=with_types(*kinds))
    assert "these producers need each other's facts in a cycle: a, b; break it" in text


def test_a_producer_may_read_its_own_fact_and_miss_an_optional_one() -> None:
    kinds = [producer("a", reads=("a", "nobody"))]
    assert "a" in names(assembled(declared(*kinds), catalog=with_types(*kinds)).producers)


class Both(Plugin):
    """`both-roles`."""

    type = "both-roles"

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        return candidates.rows >= 0

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return candidates.rows * 1.0


class Alpha(Both):
    """`alpha-plugin`."""

    type = "alpha-plugin"
    stability = "alpha"


class Refusing(Plugin):
    """`refusing-plugin`."""

    type = "refusing-plugin"

    def __init__(self, name: str, parameters: Any, wiring: Any) -> None:
        raise ValueError("the moon is full")


def test_a_plugin_joins_a_profile_in_every_role_it_has() -> None:
    found = profile(assembled(declared(Both), catalog=with_types(Both)))
    assert [keeping.name for keeping in found.filters] == ["both-roles"]
    assert [scoring.name for scoring in found.scorers] == ["both-roles"]


def test_an_alpha_plugin_needs_the_flag() -> None:
    assert "Alpha stability level" in refusal(declared(Alpha), catalog=with_types(Alpha))
    assert assembled(declared(Alpha), catalog=with_types(Alpha), allow_experimental=True)


def test_a_plugin_that_refuses_its_values_is_named() -> None:
    text = refusal(declared(Refusing), catalog=with_types(Refusing))
    assert text == 'epp.yaml: plugin "refusing-plugin" (type refusing-plugin): the moon is full'
