"""What deployments have written runs and means what it always meant, or is answered with what is missing."""

import re
from pathlib import Path
from typing import Any

import pytest

from endpoint_picker import catalog
from endpoint_picker.assemble import assemble
from endpoint_picker.commands import effective
from endpoint_picker.config import load
from endpoint_picker.config.schema import Config
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from tests.fakes.assembling import source
from tests.fakes.guides import DEFAULT, GUIDES, SAMPLES, Guide, Wiring
from tests.fakes.pool import wiring_of

FILES = Path(__file__).parents[2].parent / "shared" / "golden" / "epp-configs"
present = pytest.mark.skipif(
    not FILES.is_dir(), reason="the sample configurations are not beside the checkout"
)
UNREAD = {"epp-mm-embeddings-cache-config": ("cacheSizeInMB", "cacheSizeInMBPerServer")}
"""Sample file → a key in it that nobody reads, and the one that was meant."""


def amounts(config: Config) -> dict[str, Any]:
    """All that runs, as `check` prints it; what it prints makes the same run."""
    document, text = printed(config)
    assert printed(load.load(text, "effective.yaml"))[0] == document
    return document


def printed(config: Config) -> tuple[dict[str, Any], str]:
    assembly = assemble(config, wiring_of(EndpointTable()), allow_experimental=True)
    return effective.document(config, assembly), effective.text(config, assembly)


def refusal(config: Config) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        amounts(config)
    return str(caught.value).split("\n")


def missing(config: Config) -> set[str]:
    """Names of the plugins whose types this version has not."""
    return {block.name for block in config.plugins if block.type in catalog.LATER}


def named(lines: list[str]) -> set[str]:
    """The plugins that an answer names, each on a line of its own that begins with file and line."""
    found = [re.match(r'[^:]+:[0-9]+: plugin "([^"]+)"', line) for line in lines]
    assert all(found), lines
    return {each[1] for each in found if each}


def wiring(document: dict[str, Any]) -> Wiring:
    return {
        profile["name"]: {placed["pluginRef"]: placed.get("weight") for placed in profile["plugins"]}
        for profile in document["schedulingProfiles"]
    }


def answered(config: Config, *, unread: tuple[str, str] | None = None) -> bool:
    """Whether something of the configuration is missing; the answer then names exactly that."""
    lacking = missing(config)
    if not lacking and unread is None:
        return False
    try:
        amounts(config)
    except ConfigError as error:
        lines = str(error).split("\n")
    else:
        raise AssertionError(f"{lacking or unread} is not missed")
    mistakes = [line for line in lines if "not in this version" not in line]
    assert named(lines) == lacking | (named(mistakes) if mistakes else set())
    for line in mistakes:
        assert unread is not None
        assert f'unknown key "parameters.{unread[0]}"; did you mean "{unread[1]}"?' in line
    return True


@present
@pytest.mark.parametrize("sample", sorted(FILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sample_runs_or_names_what_is_missing(sample: Path) -> None:
    config = load.load_file(sample)
    if not answered(config, unread=UNREAD.get(sample.stem)):
        assert wiring(amounts(config)) == SAMPLES[sample.stem]


@present
def test_every_sample_is_known() -> None:
    assert {path.stem for path in FILES.glob("*.yaml")} == set(SAMPLES)


@pytest.mark.parametrize("guide", GUIDES.values(), ids=GUIDES.keys())
def test_a_guide_runs_or_names_what_is_missing(guide: Guide) -> None:
    config = load.load(guide.text, "guide.yaml")
    if guide.refused and not missing(config):
        (line,) = refusal(config)
        assert guide.refused in line
        return
    if answered(config):
        return
    document = amounts(config)
    assert wiring(document) == guide.wiring
    blocks = {block["name"]: block for block in document["plugins"]}
    for name, parameters in guide.parameters.items():
        assert blocks[name]["parameters"].items() >= parameters.items()


def test_an_empty_document_is_load_and_cache_hits() -> None:
    document = amounts(load.load(""))
    assert wiring(document) == DEFAULT
    assert [block["type"] for block in document["plugins"]][:3] == list(DEFAULT["default"])[:3]
    assert document["requestHandler"]["parsers"] == [
        {"pluginRef": name}
        for name in ("openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser")
    ]
    assert document["dataLayer"]["sources"] == [source("metrics-data-source", "core-metrics-extractor")]
    assert document["flowControl"] == {"saturationDetector": {"pluginRef": "utilization-detector"}}
    blocks = {block["name"]: block.get("parameters") for block in document["plugins"]}
    assert {"token-producer", "approx-prefix-cache-producer", "single-profile-handler"} <= blocks.keys()
    detector = blocks["utilization-detector"]
    assert (detector["queueDepthThreshold"], detector["kvCacheUtilThreshold"]) == (5, 0.8)


def test_example_b_pairs_the_default_source_with_the_extractor_that_is_declared() -> None:
    document = amounts(load.load(GUIDES["example B with two guesses"].text, "guide.yaml"))
    assert document["dataLayer"]["sources"] == [source("metrics-data-source", "core-metrics-extractor")]
    blocks = {block["name"]: block.get("parameters") for block in document["plugins"]}
    assert blocks["core-metrics-extractor"]["engineConfigs"][0]["name"] == "acme"
    assert "approx-prefix-cache-producer" in blocks
