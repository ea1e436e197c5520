"""The saturation detector of a configuration: named, deprecated, or created; and what is refused."""

from typing import Any

import pytest

from endpoint_picker.admission.saturation import Concurrency, Utilization
from endpoint_picker.core.errors import ConfigError
from tests.fakes.assembling import Document, assembled, names, plugin, profile


def named(name: str, *blocks: Document) -> Document:
    return {"plugins": list(blocks), "flowControl": {"saturationDetector": {"pluginRef": name}}}


def test_the_default_detector_is_created_and_joins_no_profile() -> None:
    assembly = assembled()
    assert isinstance(assembly.detector, Utilization)
    assert assembly.detector in list[object](assembly.instances.values())
    assert profile(assembly).filters == ()
    assert assembled(named("utilization-detector")).detector.parameters.queue_depth_threshold == 5  # type: ignore[attr-defined]


def test_a_detector_that_is_declared_joins_the_profile_of_all() -> None:
    document = {"plugins": [plugin("utilization-detector", queueDepthThreshold=7), plugin("queue-scorer")]}
    assembly = assembled(document)
    assert [each.name for each in profile(assembly).filters] == ["utilization-detector"]
    assert names([assembly.detector]) == ["utilization-detector"]
    assert assembly.detector in list[object](assembly.instances.values())


def test_the_detector_that_is_named_counts() -> None:
    block = plugin("concurrency-detector", "sat", maxConcurrency=132)
    assert names([assembled(named("sat", block)).detector]) == ["sat"]


def test_the_old_place_of_the_reference_works_and_the_new_one_wins() -> None:
    blocks = [plugin("concurrency-detector", "a"), plugin("concurrency-detector", "b")]
    old: Document = {"plugins": blocks, "saturationDetector": {"pluginRef": "a"}}
    assert names([assembled(old).detector]) == ["a"]
    assert names([assembled({**old, **named("b", *blocks)}).detector]) == ["b"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (named("sat"), "flowControl.saturationDetector: the plugin 'sat' is not declared in plugins"),
        (
            named("concurrency-detector"),
            "the plugin 'concurrency-detector' is not declared; add - type: concurrency-detector to plugins",
        ),
        (
            named("queue-scorer", plugin("queue-scorer")),
            "the plugin 'queue-scorer' (type queue-scorer) is not a saturation detector",
        ),
        (named(""), "flowControl.saturationDetector: pluginRef is empty"),
        (
            {"plugins": [plugin("queue-scorer", "utilization-detector")]},
            "'utilization-detector' (type queue-scorer) is not a saturation detector",
        ),
        (
            {"plugins": [plugin("concurrency-detector", "sat", inFlightLoadProducerName="nobody")]},
            "no default producer found for missing data key InFlightLoad/nobody, consumed by sat",
        ),
    ],
)
def test_references_that_lead_nowhere(document: Document, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        assembled(document)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "expected"), [({}, False), ({"addEstimatedOutputTokens": True}, True)]
)
def test_a_concurrency_detector_learns_how_its_producer_charges(
    parameters: dict[str, Any], expected: bool
) -> None:
    detector = plugin("concurrency-detector", "sat", inFlightLoadProducerName="load")
    assembly = assembled(named("sat", detector, plugin("inflight-load-producer", "load", **parameters)))
    assert isinstance(assembly.detector, Concurrency)
    assert assembly.detector.with_output is expected
