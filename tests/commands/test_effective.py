"""What a configuration amounts to: complete, stable, and a configuration that makes the same run."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.assemble import assemble
from endpoint_picker.commands import effective
from endpoint_picker.config import load
from endpoint_picker.core.endpoints import EndpointTable
from tests.fakes.assembling import Document, assembled, placed, plugin, profiles, source, text_of
from tests.fakes.pool import wiring_of

EVERYTHING: Document = {
    "featureGates": ["haPopulateNonLeaderDatastore=false"],
    "plugins": [
        {"type": "tokenizer"},
        {"type": "by-label-selector", "parameters": {"matchLabels": {"a/b": "1e3"}}},
        plugin("approx-prefix-cache-producer", "gpu", autoTune=False, blockSizeTokens=128),
        plugin("prefix-cache-scorer", "exact", prefixMatchInfoProducerName="gpu"),
        plugin("prefix-cache-scorer", "guess", matchLengthWeight=0.25),
        plugin("context-length-aware", enableFiltering=True),
        plugin("token-load-scorer"),
        plugin("openai-parser", "mine"),
        plugin("metrics-data-source", "pages", interval="1m30s", port="9000"),
        plugin(
            "core-metrics-extractor", "core", engineConfigs=[{"name": "x", "queuedRequestsSpec": "q{a=b}"}]
        ),
        plugin("file-discovery", path="endpoints.yaml"),
        plugin("utilization-detector", "full", headroom=0.5),
    ],
    "schedulingProfiles": profiles(
        p=placed("by-label-selector", "mine", "context-length-aware", exact=3, guess=-0.5)
    ),
    "requestHandler": {"parsers": placed("mine", "passthrough-parser")},
    "dataLayer": {"sources": [source("pages", "core")], "discovery": {"pluginRef": "file-discovery"}},
    "saturationDetector": {"pluginRef": "full"},
}


def amounts(document: Document | None) -> tuple[Document, str]:
    config = load.load("" if document is None else text_of(document), "epp.yaml")
    assembly = assemble(config, wiring_of(EndpointTable()))
    return effective.document(config, assembly), effective.text(config, assembly)


def again(text: str) -> tuple[Document, str]:
    config = load.load(text, "effective.yaml")
    assembly = assemble(config, wiring_of(EndpointTable()))
    return effective.document(config, assembly), effective.text(config, assembly)


@pytest.mark.parametrize("document", [None, {}, {"plugins": []}, EVERYTHING])
def test_loading_it_makes_the_same_run(document: Document | None) -> None:
    first, text = amounts(document)
    second, _ = again(text)
    assert second == first


SCORERS = (
    "queue-scorer",
    "prefix-cache-scorer",
    "token-load-scorer",
    "decode-filter",
    "random-picker",
    "tokenizer",
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(SCORERS), unique=True), st.booleans(), st.booleans(), st.permutations(SCORERS)
)
def test_loading_it_makes_the_same_run_whatever_is_declared(
    types: list[str], written: bool, load_declared: bool, order: list[str]
) -> None:
    blocks = [plugin(each) for each in types] + [plugin("inflight-load-producer")] * load_declared
    document: Document = {"plugins": blocks}
    if written:
        document["schedulingProfiles"] = profiles(p=placed(*(each for each in order if each in types)))
    first, text = amounts(document)
    second, text_again = again(text)
    assert second == first
    assert text_again.splitlines()[-4:] == text.splitlines()[-4:]


def test_producers_run_in_the_same_order_again() -> None:
    _, text = amounts(EVERYTHING)
    config = load.load(text, "effective.yaml")
    producers = [each.name for each in assemble(config, wiring_of(EndpointTable())).producers]  # type: ignore[attr-defined]
    assert f"#   producer: {', '.join(producers)}" in text
    assert (
        producers.index("token-producer") < producers.index("gpu") < producers.index("inflight-load-producer")
    )


def test_everything_is_said() -> None:
    document, _ = amounts(EVERYTHING)
    blocks: dict[str, Any] = {block["name"]: block for block in document["plugins"]}
    assert blocks["token-producer"]["type"] == "token-producer"
    assert blocks["exact"]["parameters"] == {
        "prefixMatchInfoProducerName": "gpu",
        "matchLengthWeight": 0.0,
        "matchLengthScaleTokens": 8192,
    }
    assert blocks["pages"]["parameters"]["interval"] == "90s"
    assert "parameters" not in blocks["mine"]
    assert document["schedulingProfiles"] == [
        {
            "name": "p",
            "plugins": [
                {"pluginRef": "label-selector-filter"},
                {"pluginRef": "context-length-aware", "weight": 1.0},
                {"pluginRef": "exact", "weight": 3.0},
                {"pluginRef": "guess", "weight": -0.5},
                {"pluginRef": "max-score-picker"},
            ],
        }
    ]
    assert document["requestHandler"] == {"parsers": placed("mine", "passthrough-parser")}
    assert document["dataLayer"]["sources"] == [source("pages", "core")]
    assert document["dataLayer"]["discovery"] == {"pluginRef": "file-discovery"}
    assert document["flowControl"] == {"saturationDetector": {"pluginRef": "full"}}


def test_what_was_added_is_marked() -> None:
    _, text = amounts({"plugins": [plugin("queue-scorer"), plugin("tokenizer")]})
    assert "- name: queue-scorer\n" in text
    assert "- name: token-producer\n" in text
    for added in ("single-profile-handler", "max-score-picker", "openai-parser", "metrics-data-source"):
        assert f"- name: {added}  # added\n" in text


def test_a_plugin_of_every_type_can_be_written_out() -> None:
    """Parameters that hold something which no configuration can hold would end the command."""
    for instance in assembled(EVERYTHING).instances.values():
        assert effective.plain(instance.parameters) is None or instance.schema is not None
