"""Configuration text → Config: what loads, what it means, and what each mistake is answered."""

import json
import logging
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.config import load, schema
from endpoint_picker.config.schema import PluginBlock, Reference
from endpoint_picker.config.units import Duration
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Parameters

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
SAMPLES = Path(__file__).parents[2].parent / "shared" / "golden" / "epp-configs"


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load.load(text, "epp.yaml")
    return str(caught.value)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample configurations are not here")
def test_every_sample_configuration_loads() -> None:
    samples = sorted(SAMPLES.glob("*.yaml"))
    assert samples
    for sample in samples:
        assert load.load_file(sample).plugins, sample.name


@pytest.mark.parametrize("text", ["", b"", "# nothing", "---\n"])
def test_nothing_means_what_it_does_to_the_reference(text: str | bytes) -> None:
    (profile,) = load.load(text).profiles
    assert {placed.plugin_ref: placed.weight for placed in profile.plugins} == {
        "queue-scorer": 2.0,
        "kv-cache-utilization-scorer": 2.0,
        "prefix-cache-scorer": 3.0,
    }


@pytest.mark.parametrize(
    "version", ["llm-d.ai/v1alpha1", "llm-d.ai/v1", "inference.networking.x-k8s.io/v1alpha1"]
)
def test_three_api_versions_load(version: str, caplog: pytest.LogCaptureFixture) -> None:
    load.load(f"apiVersion: {version}\nkind: EndpointPickerConfig\n", "epp.yaml")
    assert ("deprecated" in caplog.text) == version.startswith("inference")


def test_json_loads() -> None:
    text = json.dumps(
        {"apiVersion": "llm-d.ai/v1", "kind": "EndpointPickerConfig", "plugins": [{"type": "a"}]}
    )
    assert load.load(text, "epp.json").plugins == (PluginBlock(type="a", name="a"),)
    assert load.load("\ufeff".encode() + text.encode(), "epp.json").plugins


def test_every_field_is_known() -> None:
    config = load.load(
        HEAD
        + """
featureGates: [flowControl, " haPopulateNonLeaderDatastore = FALSE "]
plugins: [{type: a}, {type: a, name: b, parameters: {x: 1}}]
schedulingProfiles: [{name: p, plugins: [{pluginRef: a}, {pluginRef: b, weight: -2.5}]}]
dataLayer:
  injectDefaults: false
  sources: [{pluginRef: s, extractors: [{pluginRef: e}]}]
  discovery: {pluginRef: d}
  peerDiscovery: {pluginRef: d}
  crossReplicaSyncerPluginRef: c
  crossReplicaSyncInterval: 300ms
flowControl:
  maxBytes: 10Gi
  maxRequests: 1k
  defaultRequestTTL: 1m30s
  noEndpointRequestTTL: 0s
  defaultPriorityBand: {maxBytes: 5, fairnessPolicyRef: f, orderingPolicyRef: o}
  defaultNegativePriorityBand: {maxRequests: 7}
  priorityBands: [{priority: -1}, {priority: 10, maxRequests: 1}]
  usageLimitPolicyPluginRef: u
  saturationDetector: {pluginRef: sat}
  enableEviction: true
requestHandler: {parsers: [{pluginRef: openai-parser}]}
""",
        "epp.yaml",
    )
    flow = config.flow_control
    assert [block.name for block in config.plugins] == ["a", "b"]
    assert [placed.weight for placed in config.profiles[0].plugins] == [1.0, -2.5]
    assert config.gates == {"flowControl": True, "haPopulateNonLeaderDatastore": False}
    assert (flow.max_bytes, flow.max_requests) == (10 * 1024**3, 1000)
    assert (flow.default_request_ttl, flow.no_endpoint_request_ttl) == (90.0, 0.0)
    assert [band.priority for band in flow.priority_bands] == [-1, 10]
    assert config.data_layer.cross_replica_sync_interval == 0.3
    assert not config.data_layer.inject_defaults
    assert config.parsers == (Reference(plugin_ref="openai-parser"),)


def test_a_key_with_nothing_behind_it_counts_as_left_out() -> None:
    config = load.load(HEAD + "plugins:\ndataLayer:\n  injectDefaults:\nschedulingProfiles:\n", "epp.yaml")
    assert config.plugins == ()
    assert config.data_layer.inject_defaults


def test_deprecated_places_move_and_the_new_ones_win(caplog: pytest.LogCaptureFixture) -> None:
    old = "saturationDetector: {pluginRef: old}\nparser: {pluginRef: old}\n"
    new = (
        "flowControl: {saturationDetector: {pluginRef: new}}\nrequestHandler: {parsers: [{pluginRef: new}]}\n"
    )
    for text, winner in ((HEAD + old, "old"), (HEAD + old + new, "new")):
        config = load.load(text, "epp.yaml")
        assert config.flow_control.saturation_detector == Reference(plugin_ref=winner)
        assert config.parsers == (Reference(plugin_ref=winner),)
    assert caplog.text.count("belongs into") == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "plugins: [{type: a}, {type: b}, {type: c, paramters: {}}]",
            'epp.yaml:3: unknown key "plugins[2].paramters"; did you mean "parameters"?',
        ),
        ("plugin: []", 'epp.yaml:3: unknown key "plugin"; did you mean "plugins"?'),
        (
            "dataLayer: {discovery: {pluginref: x}}",
            'epp.yaml:3: unknown key "dataLayer.discovery.pluginref"; did you mean "pluginRef"?',
        ),
        ("plugins: {a: b}", "epp.yaml:3: plugins: Expected a list, got a mapping"),
        (
            "schedulingProfiles: [{name: p, plugins: [{pluginRef: q, weight: x}]}]",
            "epp.yaml:3: schedulingProfiles[0].plugins[0].weight: Expected a number, got text",
        ),
        (
            "schedulingProfiles: [{name: p, plugins: [{pluginRef: q, weight: 1e999}]}]",
            "epp.yaml:3: schedulingProfiles[0].plugins[0]: weight is inf; write a number such as 2",
        ),
        (
            "flowControl: {maxBytes: 10Gx}",
            "epp.yaml:3: flowControl.maxBytes: '10Gx' is not a quantity; write it like 1000, 1k or 10Gi",
        ),
        ("plugins: [{name: x}]", "epp.yaml:3: plugins[0]: plugin 'x' is missing a type"),
        (
            "plugins: [{type: a}, {type: b, name: a}]",
            "epp.yaml:3: plugins[1]: duplicate plugin name 'a'; give one another name",
        ),
        (
            "schedulingProfiles: [{}]",
            "epp.yaml:3: schedulingProfiles[0]: the profile has no name; give it one",
        ),
        (
            "schedulingProfiles: [{name: p}, {name: p}]",
            "epp.yaml:3: schedulingProfiles[1]: duplicate profile name 'p'; rename one",
        ),
        (
            "featureGates: [flowControll]",
            "epp.yaml:3: featureGates: feature gate 'flowControll' is unknown or unregistered; "
            'did you mean "flowControl"?',
        ),
        (
            "featureGates: [flowControl=maybe]",
            "epp.yaml:3: featureGates: flowControl=maybe: write true or false",
        ),
        (
            "plugins: [{type: a, type: b}]",
            'epp.yaml:3: the key "type" is written twice in one mapping; remove one',
        ),
    ],
)
def test_a_mistake_is_answered_with_place_and_remedy(text: str, message: str) -> None:
    assert refusal(HEAD + text) == message


@pytest.mark.parametrize("gate", ["dataLayer", "prepareDataPlugins", "enableLegacyMetrics"])
def test_removed_gates_are_unknown(gate: str) -> None:
    assert f"feature gate '{gate}' is unknown or unregistered" in refusal(HEAD + f"featureGates: [{gate}]")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1]", "not a list"),
        ("word", "not a text"),
        ("7", "not a single value"),
        ("a: b", "kind is missing; write kind: EndpointPickerConfig"),
        ("kind: EndpointPickerConfg", 'kind is "EndpointPickerConfg"; write'),
        ("kind: EndpointPickerConfig", "apiVersion is missing; write one of llm-d.ai/v1alpha1"),
        ("kind: EndpointPickerConfig\napiVersion: v1", 'apiVersion is "v1"; write one of'),
        ("kind: EndpointPickerConfig\napiVersion: [1]", "apiVersion is"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_configuration_says_so(text: str | bytes, part: str) -> None:
    assert part in refusal(text)


def test_lenient_drops_unknown_keys_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config = load.load(HEAD + "plugins: [{type: a, x: 1}]\ny: 2", "epp.yaml", lenient=True)
    assert config.plugins == (PluginBlock(type="a", name="a"),)
    assert config.lenient
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert 'unknown key "plugins[0].x"' in caplog.text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load.load_file(tmp_path / "absent.yaml")
    (tmp_path / "big.yaml").write_bytes(b"a" * (10 << 20))
    with pytest.raises(ConfigError, match=r"big\.yaml: 1048577 characters are too long"):
        load.load_file(tmp_path / "big.yaml")


class Inner(Parameters, frozen=True):
    depth: int = 1


class Sample(Parameters, frozen=True):
    block_size: int = 16
    wait_for: Duration = Duration(1.0)
    inner: Inner | None = None
    by_name: dict[str, Inner] = {}  # noqa: RUF012 (msgspec copies it)

    def __post_init__(self) -> None:
        if self.block_size <= 0:
            raise ValueError(f"blockSize is {self.block_size}; it must be more than 0")


def given_block(value: Any) -> PluginBlock:
    return PluginBlock(type="sample-type", name="mine", parameters=value)


def test_parameters_become_the_schema() -> None:
    block = given_block({"blockSize": 5, "waitFor": "2s", "inner": {"depth": 3}, "byName": {"x": {}}})
    assert load.parameters(block, Sample, source="f") == Sample(
        block_size=5, wait_for=Duration(2.0), inner=Inner(depth=3), by_name={"x": Inner()}
    )
    assert load.parameters(given_block(None), Sample, source="f") == Sample()


@pytest.mark.parametrize("value", [None, {"junk": [1]}, "junk", 7])
def test_a_plugin_without_parameters_does_not_look(value: Any) -> None:
    assert load.parameters(given_block(value), None, source="f") is None


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ({"blokSize": 1}, 'unknown key "parameters.blokSize"; did you mean "blockSize"?'),
        ({"inner": {"dept": 1}}, 'unknown key "parameters.inner.dept"; did you mean "depth"?'),
        ({"byName": {"x": {"dpth": 1}}}, 'unknown key "parameters.byName.x.dpth"; did you mean "depth"?'),
        ({"blockSize": "5"}, "parameters.blockSize: Expected a whole number, got text"),
        ({"blockSize": -1}, "parameters: blockSize is -1; it must be more than 0"),
        ({"inner": {"depth": None, "x": 1}}, 'unknown key "parameters.inner.x"; valid: depth'),
        ([1], "parameters must be a mapping, not a list"),
    ],
)
def test_wrong_parameters_name_the_plugin_and_the_key(value: Any, rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parameters(given_block(value), Sample, source="epp.yaml")
    assert str(caught.value) == f'epp.yaml: plugin "mine" (type sample-type): {rest}'


class Choice(Parameters, frozen=True):
    mode: Literal["fast", "slow"] = "fast"


class Choices(Parameters, frozen=True):
    top: Literal["up", "down"] | None = None
    listed: tuple[Choice, ...] = ()
    named: dict[str, Choice] = {}  # noqa: RUF012 a struct copies its default
    deep: Choice | None = None


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ({"top": "sideways"}, "parameters.top: 'sideways' is not right here; valid: down, up"),
        ({"listed": [{}, {"mode": "slo"}]}, "parameters.listed[1].mode: 'slo' is not right here; "),
        ({"named": {"x": {"mode": "it's"}}}, "mode: 'it's' is not right here; valid: fast, slow"),
        (
            {"deep": {"mode": "fats"}},
            "parameters.deep.mode: 'fats' is not right here; did you mean \"fast\"?",
        ),
    ],
)
def test_a_wrong_choice_is_answered_with_what_there_is(value: Any, rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parameters(given_block(value), Choices, source="epp.yaml")
    assert rest in str(caught.value)


def test_lenient_parameters_warn(caplog: pytest.LogCaptureFixture) -> None:
    block = given_block({"blokSize": 1, "blockSize": 2})
    assert load.parameters(block, Sample, source="f", lenient=True) == Sample(block_size=2)
    assert 'plugin "mine"' in caplog.text


KEYS = st.sampled_from(
    [*schema.Document.__struct_encode_fields__, "name", "type", "pluginRef", "weight", "junk"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_any_mapping_is_a_config_or_a_config_error(value: dict[str, Any], lenient: bool) -> None:
    text = json.dumps({**value, "apiVersion": "llm-d.ai/v1", "kind": "EndpointPickerConfig"})
    try:
        load.load(text, "f", lenient=lenient)
    except ConfigError as error:
        message = str(error)
    else:
        return
    assert re.match(r"f(:[0-9]+)?: ", message)
