"""Two configurations, compared by what they amount to."""

from typing import Any

from endpoint_picker.commands import difference, effective
from endpoint_picker.config import load
from tests.fakes.assembling import Document, assembled, placed, plugin, profiles, text_of

OLD: Document = {
    "plugins": [plugin("queue-scorer"), plugin("random-picker"), plugin("openai-parser", "mine")],
    "schedulingProfiles": profiles(a=placed("queue-scorer")),
}


def amounts(document: Document) -> dict[str, Any]:
    return effective.document(load.load(text_of(document), "epp.yaml"), assembled(document))


def told(new: Document) -> str:
    return difference.summary(amounts(OLD), amounts(new))


def test_how_it_is_written_is_no_change() -> None:
    written_out = {**OLD, "plugins": [*OLD["plugins"][::-1], plugin("single-profile-handler")]}
    assert told(written_out) == "no change"
    assert difference.unified((amounts(OLD), "old"), (amounts(written_out), "new")) == ""


def test_each_change_is_named() -> None:
    blocks = [plugin("queue-scorer"), plugin("random-picker", maxNumOfEndpoints=2), plugin("decode-filter")]
    new = {
        "plugins": blocks,
        "schedulingProfiles": profiles(b=placed("queue-scorer")),
        "requestHandler": {"parsers": placed("openai-parser")},
        "featureGates": ["haPopulateNonLeaderDatastore=false"],
    }
    assert told(new) == (
        "plugins added: decode-filter; "
        "plugins removed: mine, anthropic-parser, vllmhttp-parser, passthrough-parser; "
        "plugins changed: random-picker; profiles added: b; profiles removed: a; "
        "changed: feature gates, parsers"
    )


def test_the_changed_lines_are_shown() -> None:
    new = {**OLD, "schedulingProfiles": profiles(a=[{"pluginRef": "queue-scorer", "weight": 2}])}
    text = difference.unified((amounts(OLD), "old.yaml"), (amounts(new), "new.yaml"))
    changed = [line for line in text.splitlines() if line[0] in "+-"]
    assert changed == ["--- old.yaml", "+++ new.yaml", "-    weight: 1.0", "+    weight: 2.0"]
