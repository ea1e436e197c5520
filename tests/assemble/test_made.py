"""What does not fit together is refused, with the file, the place and the remedy."""

from typing import Any

import pytest

from endpoint_picker.assemble import assemble
from endpoint_picker.catalog import TABLE, Catalog
from endpoint_picker.config import load
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Plugin
from tests.fakes.assembling import Document, assembled, names, placed, plugin, profiles, source
from tests.fakes.pool import wiring_of

HANDLER = "single-profile-handler"


class Alpha(Plugin):
    """`alpha-plugin`."""

    type = "alpha-plugin"
    stability = "alpha"


class Refusing(Plugin):
    """`refusing-plugin`."""

    type = "refusing-plugin"

    def __init__(self, name: str, parameters: Any, wiring: Any) -> None:
        raise ValueError("the moon is full")


CATALOG = Catalog({**TABLE, Alpha.type: Alpha, Refusing.type: Refusing})


def refusal(document: Document) -> str:
    with pytest.raises(ConfigError) as caught:
        assembled(document, catalog=CATALOG)
    return str(caught.value)


def only(*blocks: Document, **rest: Any) -> Document:
    return {"plugins": list(blocks), **rest}


def layer(*sources: Document, **rest: Any) -> Document:
    return {"sources": list(sources), **rest}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            only(plugin("queue-scorrer")),
            "plugin type 'queue-scorrer' is not registered; did you mean \"queue-scorer\"?",
        ),
        (only(plugin("k8s-notification-source")), "'k8s-notification-source' is not in this version"),
        (only(plugin("alpha-plugin")), "type alpha-plugin has Alpha stability level; allow it with"),
        (only(plugin("refusing-plugin")), '"refusing-plugin" (type refusing-plugin): the moon is full'),
        (
            only(plugin("prefix-cache-scorer", "p", matchLenghtWeight=1)),
            'plugin "p" (type prefix-cache-scorer): unknown key "parameters.matchLenghtWeight"; '
            'did you mean "matchLengthWeight"?',
        ),
        (
            only(plugin("prefix-cache-scorer", matchLengthWeight=2)),
            "parameters: matchLengthWeight is 2.0; write a number from 0 to 1",
        ),
        (
            only(plugin("token-producer"), plugin("tokenizer")),
            "plugin \"tokenizer\": duplicate plugin name 'token-producer'; give one another name",
        ),
        (
            only(plugin("queue-scorer", "token-producer"), plugin("prefix-cache-scorer")),
            'plugin "token-producer" has the type queue-scorer, but the name is needed for a token-producer',
        ),
    ],
)
def test_plugins(document: Document, message: str) -> None:
    found = refusal(document)
    assert found.startswith("epp.yaml:1: plugin ")
    assert message in found


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"schedulingProfiles": profiles(a=[], b=[])}, "no profile handler configured"),
        (
            only(plugin(HANDLER), schedulingProfiles=profiles(a=[], b=[])),
            "SingleProfileHandler cannot support multiple scheduling profiles",
        ),
        (only(plugin(HANDLER), plugin(HANDLER, "x")), f"multiple profile handlers found: {HANDLER}, x"),
        (
            only(plugin("random-picker"), plugin("max-score-picker")),
            "profile 'default' has more than one picker: random-picker, max-score-picker",
        ),
        ({"schedulingProfiles": profiles(a=[{}])}, "schedulingProfiles[0].plugins[0]: pluginRef is empty"),
        (
            only(plugin("queue-scorer", "queue"), schedulingProfiles=profiles(a=placed("queue", "queu"))),
            "schedulingProfiles[0].plugins[1]: the plugin 'queu' is not declared in plugins; "
            'did you mean "queue"?',
        ),
        (
            {"schedulingProfiles": profiles(a=placed("queue-scorer"))},
            "the plugin 'queue-scorer' is not declared; add - type: queue-scorer to plugins",
        ),
    ],
)
def test_profiles(document: Document, message: str) -> None:
    assert message in refusal(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"requestHandler": {"parsers": placed("open-ai")}},
            "requestHandler.parsers[0]: the plugin 'open-ai' is not declared in plugins",
        ),
        (
            only(plugin("queue-scorer"), requestHandler={"parsers": placed("queue-scorer")}),
            "the plugin 'queue-scorer' (type queue-scorer) is not a parser",
        ),
        ({"requestHandler": {"parsers": [{}]}}, "requestHandler.parsers[0]: pluginRef is empty"),
        ({"dataLayer": {"injectDefaults": False}}, "data layer enabled but no data sources configured"),
        (
            {"dataLayer": layer(source("nobody"))},
            "dataLayer.sources[0]: the plugin 'nobody' is not declared",
        ),
        (
            only(plugin("queue-scorer"), dataLayer=layer(source("queue-scorer"))),
            "dataLayer.sources[0]: the plugin 'queue-scorer' (type queue-scorer) is not a data source",
        ),
        (
            only(
                plugin("metrics-data-source", "s"),
                plugin("queue-scorer", "q"),
                dataLayer=layer(source("s", "q")),
            ),
            "dataLayer.sources[0].extractors[0]: the plugin 'q' (type queue-scorer) is not an extractor",
        ),
        (
            only(
                plugin("metrics-data-source", "s"),
                plugin("core-metrics-extractor", "x"),
                plugin("core-metrics-extractor", "y"),
                dataLayer=layer(source("s", "x", "y")),
            ),
            "extractors[1]: a second extractor of the type core-metrics-extractor; keep one",
        ),
        (
            only(plugin("queue-scorer"), dataLayer={"discovery": {"pluginRef": "queue-scorer"}}),
            "dataLayer.discovery: the plugin 'queue-scorer' (type queue-scorer) is not a discovery plugin",
        ),
    ],
)
def test_the_other_rooms(document: Document, message: str) -> None:
    assert message in refusal(document)


LINES = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: prefix-cache-scorer
  parameters:
    matchLengthWeight: 0.5
- type: random-picker
schedulingProfiles:
- name: first
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: random-picker
requestHandler:
  parsers:
  - pluginRef: openai-parser
"""


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("- type: queue-scorer", "- type: queue-scorrer", 4),
        ("matchLengthWeight: 0.5", "matchLengthWeigth: 0.5", 7),
        ("matchLengthWeight: 0.5", "matchLengthWeight: much", 7),
        ("matchLengthWeight: 0.5", "matchLengthWeight: 5", 6),
        ("    matchLengthWeight: 0.5\n", "  - 0.5\n", 6),
        (
            "- type: random-picker",
            "- {type: single-profile-handler}\n- {type: single-profile-handler, name: b}",
            9,
        ),
        ("  - pluginRef: queue-scorer", "  - pluginRef: queue", 12),
        ("  - pluginRef: queue-scorer", "  - {weight: 2}", 12),
        ("  - pluginRef: openai-parser", "  - pluginRef: queue-scorer", 16),
        ("requestHandler:", "- name: second\nrequestHandler:", 14),
        ("requestHandler:", "dataLayer:\n  injectDefaults: false\nrequestHandler:", 15),
    ],
)
def test_the_line_is_told(old: str, new: str, line: int) -> None:
    assert old in LINES
    with pytest.raises(ConfigError) as caught:
        assemble(load.load(LINES.replace(old, new, 1), "epp.yaml"), wiring_of(EndpointTable()))
    assert str(caught.value).startswith(f"epp.yaml:{line}: ")


def test_what_is_wrong_with_several_plugins_is_told_together() -> None:
    found = refusal(only(plugin("queue-scorrer"), plugin("queue-scorer"), plugin("refusing-plugin")))
    assert [line.split(": ")[1] for line in found.split("\n")] == [
        'plugin "queue-scorrer"',
        'plugin "refusing-plugin" (type refusing-plugin)',
    ]


def test_an_alpha_plugin_runs_with_the_flag() -> None:
    found = assembled(only(plugin("alpha-plugin")), catalog=CATALOG, allow_experimental=True)
    assert "alpha-plugin" in found.instances


def test_an_old_type_name_writes_the_facts_of_today() -> None:
    found = assembled(only({"type": "tokenizer"}, plugin("prefix-cache-scorer")))
    assert names(found.producers).count("token-producer") == 1
    assert "token-producer" not in found.instances
