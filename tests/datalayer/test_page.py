import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.datalayer.page import MOST_BYTES, MOST_SERIES, Families, Series


def one(line: str) -> Series:
    (series,) = Families(["m"]).read(line.encode())["m"]
    return series


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("m 1", 1.0),
        ("m\t2.5", 2.5),
        ("m{} 3", 3.0),
        ('m{a="b"} 1e3', 1000.0),
        ('m{a="b",} 4', 4.0),
        ('m {a="b"}5', 5.0),
        ("m -1\r", -1.0),
        ("m +Inf", math.inf),
        ('m 7 # {trace_id="x"} 1', 7.0),
    ],
)
def test_a_value_is_read(line: str, value: float) -> None:
    assert one(line).value == value


def test_nan_is_a_value() -> None:
    assert math.isnan(one("m NaN").value)


@pytest.mark.parametrize(
    ("line", "timestamp"),
    [
        ("m 1 1700000000000", 1.7e12),
        ("m 1 -5", -5.0),
        ("m 1 1.5", 1.5),
        ("m 1", -math.inf),
        ("m 1 x", -math.inf),
    ],
)
def test_a_timestamp_is_optional(line: str, timestamp: float) -> None:
    assert one(line).timestamp == timestamp


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("m 1", {}),
        ('m{a="1",b="2"} 1', {"a": "1", "b": "2"}),
        ('m{ a = "1" , b = "2" , } 1', {"a": "1", "b": "2"}),
        (r'm{a="q\"x\\",b="l\nf"} 1', {"a": 'q"x\\', "b": "l\nf"}),
        ('m{a="x,y}{z= \t",b=""} 1', {"a": "x,y}{z= \t", "b": ""}),
        (r'm{a="b=\"1\",c=\"2",d="3"} 1', {"a": 'b="1",c="2', "d": "3"}),
        ('m{ü="1",a="ü"} 1', {"a": "ü"}),
    ],
)
def test_labels_are_read(line: str, labels: dict[str, str]) -> None:
    series = one(line)
    assert series.labels == labels
    assert series.value == 1.0


@pytest.mark.parametrize(
    "line", ["m", "m x", 'm{a="b" 1', 'm{a="b} 1', 'm{a="b"}', "# m 1", "mm 1", "m_x 1", " m 1"]
)
def test_what_is_no_sample_of_the_family_is_left_out(line: str) -> None:
    assert not Families(["m"]).read(line.encode())


def test_only_whole_names_count_and_order_is_kept() -> None:
    page = b'a_b 1\na 2\na{x="1"} 3\nba 4\na_b_c 5\n\na_b 6'
    found = Families(["a", "a_b"]).read(page)
    assert {name: [series.value for series in each] for name, each in found.items()} == {
        "a": [2.0, 3.0],
        "a_b": [1.0, 6.0],
    }


def test_families_without_a_common_prefix() -> None:
    found = Families(["x:q", "other", "third"]).read(b"third 3\nx:q 1\nother 2\n")
    assert {name: each[0].value for name, each in found.items()} == {"x:q": 1.0, "other": 2.0, "third": 3.0}


def test_no_families_at_all() -> None:
    assert Families([]).read(b"m 1\n") == {}


def test_a_broken_line_hides_nothing_after_it() -> None:
    assert [s.value for s in Families(["m"]).read(b'm{a="\nm 1\nm{\nm 2\n')["m"]] == [1.0, 2.0]


def test_series_are_read_up_to_a_number_of_bytes() -> None:
    long = b'm{a="' + b"x" * (MOST_BYTES // 4) + b'"} 1\n'
    assert len(Families(["m"]).read(long * 8)["m"]) == 3


def test_labels_belong_to_whoever_asks_for_them() -> None:
    series = one('m{a="1"} 1')
    series.labels.clear()
    assert series.labels == {"a": "1"}


def test_a_page_of_nothing_but_series_is_read_in_part() -> None:
    assert len(Families(["m"]).read(b"m 1\n" * (MOST_SERIES + 5))["m"]) == MOST_SERIES


@pytest.mark.parametrize(
    "line",
    [
        b"m{" + b"a" * 60_000,
        b"m{" + b'a="b",' * 10_000,
        b'm{a="' + b"\\" * 60_001,
        b'm{a="' + b'\\"' * 30_000,
        b"m{" + b'""' * 30_000 + b"1",
        b"m " + b" " * 60_000,
        b"m 1 " + b"1" * 60_000 + b"x",
        b"mm" * (1 << 20),
    ],
)
def test_a_hostile_line_costs_no_more_than_its_length(line: bytes) -> None:
    # Each would take minutes, or all memory, if the pattern went back over what it had read.
    assert Families(["m"]).read(line + b"\nm 5\n")["m"][-1].value == 5.0


@settings(max_examples=150, deadline=None)
@given(
    labels=st.dictionaries(
        st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True), st.text(max_size=12), max_size=5
    ),
    value=st.floats(),
    timestamp=st.none() | st.integers(-(10**15), 10**15),
)
def test_what_is_written_by_the_format_is_read_back(
    labels: dict[str, str], value: float, timestamp: int | None
) -> None:
    escaped = {
        key: text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        for key, text in labels.items()
    }
    inside = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    line = f"m{{{inside}}} {value!r}" + ("" if timestamp is None else f" {timestamp}")
    series = one(f"# HELP m \nm_total 1\n{line}\nn 1\n")
    assert series.labels == labels
    assert series.value == value or (math.isnan(value) and math.isnan(series.value))
    assert series.timestamp == (-math.inf if timestamp is None else timestamp)


FRAGMENTS = st.sampled_from(
    [
        b"\n",
        b"m",
        b"n:x",
        b"{",
        b"}",
        b'"',
        b"\\",
        b",",
        b"=",
        b" ",
        b"1",
        b"a",
        b"\r",
        b"\xff",
        b"# ",
        b"e",
        b"-",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=60).map(b"".join) | st.binary(max_size=80))
def test_any_bytes_are_read(page: bytes) -> None:
    for name, each in Families(["m", "n:x"]).read(page).items():
        assert name in ("m", "n:x")
        for series in each:
            assert isinstance(series.labels, dict)
            assert isinstance(series.value, float)
