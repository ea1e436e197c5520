"""Configuration texts: plain values, or one ConfigError; nothing else, whatever the text."""

import json
import re
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
        ("a: 1\nb: 2\na: 3\n", 't:3: the key "a" is written twice'),
        ("a: 1\n---\nb: 1\n", "t:2: a second document"),
        ("&a [*a]", "stands before, or inside, its anchor"),
        ("[*a]", "stands before, or inside, its anchor"),
        ("a: &a {b: 1}\nc: {<<: *a}", "<< is not supported"),
        ("? [a]\n: b", "a key must be plain text"),
        ("!!python/name:os.system x", "the tag tag:yaml.org,2002:python/name:os.system is not allowed"),
        ("!!set {a}", "is not allowed"),
        ("[" * 500, "t:1: nested deeper than 64"),
        ("[" * 100_000, "nest"),
        ("{a: " * 100_000, "nested deeper than 64"),
        ("- " * 100_000 + "x", "nested deeper than 64"),
        ("x" * (10 << 20), "too long"),
        ("[" + "1," * 100_000 + "]", "more than 100000 values"),
        ("a:\n- [", "t:3: not valid YAML or JSON"),
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


TEXT = """\
apiVersion: x
plugins:
- type: a

- type: b
  parameters: {"c.d": [1,
    2]}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("apiVersion", 1),
        ("plugins", 2),
        ("plugins[0].type", 3),
        ("plugins[1]", 5),
        ("plugins[1].name", 5),
        ("plugins[1].parameters.c.d", 6),
        ("plugins[1].parameters.c.d[1]", 7),
        ("plugins[2]", 2),
        ("plug", 0),
        ("", 0),
    ],
)
def test_a_path_leads_to_the_line_of_what_is_there_of_it(path: str, line: int) -> None:
    for text in (TEXT, TEXT.replace("\n\n", "\n# a comment\n")):
        assert document.read_with_lines(text, "t")[1].at(path).line == line


def test_lines_of_json_and_of_an_alias_are_those_where_it_stands() -> None:
    assert document.read_with_lines('{"a":\n {"b": 1},\n"c": 2}', "t")[1].at("a.b").line == 2
    _, lines = document.read_with_lines("a: &x {b: 1}\nc: *x", "t")
    assert [lines.at(path).line for path in ("a.b", "c.b")] == [1, 2]


def test_the_longest_key_that_fits_is_meant() -> None:
    _, lines = document.read_with_lines("a: {b: 1}\na.b: 2\na.b.c: {d: 3}\n", "t")
    assert [lines.at(path).line for path in ("a", "a.b", "a.b.c.d", "a.bc")] == [1, 2, 3, 1]


def test_lines_take_no_more_room_than_the_text() -> None:
    """Paths, written out for each value, would take 30 GB here."""
    text = "? " + "x" * 300_000 + "\n: [" + "1, " * 99_000 + "]"
    assert len(document.read_with_lines(text, "t")[1].at("x" * 300_000).inner) == 99_000


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
    assert re.match(r"t(:[0-9]+)?: ", message)
