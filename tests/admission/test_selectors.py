"""Label selectors in text form."""

import pytest

from endpoint_picker.admission.selectors import parsed

LABELS = {"app": "vllm", "tier": "a", "example.com/set": "x-1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app=vllm", True),
        ("app == vllm", True),
        ("app=sglang", False),
        ("app!=sglang", True),
        ("zone!=x", True),  # holds where the label is absent
        ("zone=", False),
        ("app", True),
        ("!app", False),
        ("!zone", True),
        ("zone", False),
        ("tier in (a, b)", True),
        ("tier in (b,c)", False),
        ("tier notin (b)", True),
        ("zone notin (b)", True),
        ("example.com/set=x-1,tier in (a,b),!zone", True),
        ("example.com/set=x-1,tier in (b,c),!zone", False),
    ],
)
def test_requirements(text: str, expected: bool) -> None:
    assert parsed(text)(LABELS) is expected


@pytest.mark.parametrize("text", ["a=b=c", "tier in a", "tier in (a", "a b", "=x", "app=vllm,", "a>1", "-a"])
def test_what_is_no_requirement_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no requirement; write key=value"):
        parsed(text)
