"""Configuration texts: plain values, or one ConfigError; nothing else, whatever the text."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.config import document
from endpoint_picker.core.errors import ConfigError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text("abc xyz:#-", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcd", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
SYNTAX = st.text(st.sampled_from("{}[]&*a1:,-!|>?'\"%@# \n\t~<0.e\\\x00é\ud800"), max_size=60)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("0x10", 16),
        ("-7", -7),
        (".5", 0.5),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("!!int '1'", 1),
        (".nan", ".nan"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert document.read(f"a: {text}", "t") == {"a": value}


def test_keys_are_always_text() -> None:
    assert document.read("{1: a, on: b, null: c}", "t") == {"1": "a", "on": "b", "null": "c"}


def test_an_alias_stands_for_its_value() -> None:
    assert document.read("a: &x [1, {b: 2}]\nc: *x", "t") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "--- ~\n...\n"])
def test_an_empty_document_is_none(text: str) -> None:
    assert document.read(text, "t") is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 't: line 3: the key "a" is written twice'),
        ("a: 1\n---\nb: 1\n", "t: line 2: a second document"),
        ("&a [*a]", "stands before, or inside, its anchor"),
        ("[*a]", "stands before, or inside, its anchor"),
        ("a: &a {b: 1}\nc: {<<: *a}", "<< is not supported"),
        ("? [a]\n: b", "a key must be plain text"),
        ("!!python/name:os.system x", "the tag tag:yaml.org,2002:python/name:os.system is not allowed"),
        ("!!set {a}", "is not allowed"),
        ("[" * 100_000, "nested deeper than 64"),
        ("{a: " * 100_000, "nested deeper than 64"),
        ("- " * 100_000 + "x", "nested deeper than 64"),
        ("x" * (10 << 20), "too long"),
        ("[" + "1," * 100_000 + "]", "more than 100000 values"),
        ("a: [", "t: not valid YAML or JSON"),
        ("\x00", "t: not valid YAML or JSON"),
        ("a: \ud800", "t: not valid YAML or JSON"),
    ],
)
def test_what_is_ambiguous_or_too_big_is_refused(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        document.read(text, "t")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_of_aliases_do_not_explode() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for i in range(1, 12):
        bomb += f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n"
    with pytest.raises(ConfigError, match="more than 100000 values, aliases included"):
        document.read(bomb, "t")


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_json_is_read_as_json(value: Any) -> None:
    assert document.read(json.dumps(value), "t") == value


@settings(max_examples=300, deadline=None)
@given(SYNTAX)
def test_any_text_is_a_value_or_a_config_error(text: str) -> None:
    try:
        document.read(text, "t")
    except ConfigError as error:
        message = str(error)
    else:
        return
    assert message.startswith("t: ")
