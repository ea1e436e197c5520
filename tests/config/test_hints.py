"""The nearest valid name."""

import pytest

from endpoint_picker.config import hints


@pytest.mark.parametrize(
    ("word", "valid", "clause"),
    [
        ("paramters", ["type", "parameters"], 'did you mean "parameters"?'),
        ("pluginref", ["pluginRef"], 'did you mean "pluginRef"?'),
        ("zzz", ["b", "a"], "valid: a, b"),
        ("zzz", [f"name-{i}" for i in range(30)], ""),
        ("zzz", [], ""),
    ],
)
def test_nearest(word: str, valid: list[str], clause: str) -> None:
    assert hints.nearest(word, valid) == clause


def test_a_message_without_a_hint_stays_as_it_is() -> None:
    assert hints.with_hint("wrong", "zzz", []) == "wrong"
    assert hints.with_hint("wrong", "a", ["a"]) == 'wrong; did you mean "a"?'
