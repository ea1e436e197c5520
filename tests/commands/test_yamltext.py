"""What is written is read as the same values, and looks as people write it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.commands import yamltext
from endpoint_picker.config import document

TEXT = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "yes",
        "null",
        "1e3",
        "0x10",
        "~",
        "- a",
        "a: b",
        "# c",
        "200ms",
        "x\u2028y",
        "\x85",
        "\ufeff",
        "%",
        "a\n",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_values_are_read_as_they_were(value: Any) -> None:
    for text in ("\n".join(yamltext.lines({"a": value})), f"a: {yamltext.inline(value)}"):
        found = document.read(text, "t")["a"]
        assert found == value
        assert repr(found).replace("'", "") == repr(value).replace("'", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": [1, {"c": None, "d": 2}]}}, "a:\n  b:\n  - 1\n  - c: null\n    d: 2"),
        ({"a": [], "b": {}, "c": [[1], [2]]}, "a: []\nb: {}\nc:\n- - 1\n- - 2"),
        ("max-score-picker", "max-score-picker"),
        ("/v1/models", "/v1/models"),
        ("flowControl=false", "flowControl=false"),
        ("200ms", "200ms"),
        ("true", '"true"'),
        ("1e3", '"1e3"'),
        ("http://a:1", '"http://a:1"'),
        (float("inf"), "1e999"),
    ],
)
def test_it_looks_as_people_write_it(value: Any, text: str) -> None:
    assert "\n".join(yamltext.lines(value)) == text


def test_a_comment_stands_on_the_first_line_of_an_item() -> None:
    assert yamltext.item({"a": 1, "b": 2}, comment="added") == ["- a: 1  # added", "  b: 2"]
