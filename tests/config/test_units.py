"""Durations and quantities as Kubernetes writes them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("1m30s", 90.0),
        ("0s", 0.0),
        ("0", 0.0),
        ("1.5h", 5400.0),
        ("-2s", -2.0),
        ("1h2m3s4ms5us6ns", 3723.004005006),
        ("3µs", 3e-6),
        (".5s", 0.5),
        ("7", 7.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10Gi", 10 * 1024**3),
        ("1k", 1000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("1500m", 2),
        ("1.5Ki", 1536),
        ("0", 0),
        ("-3", -3),
        ("12", 12),
        ("1n", 1),
    ],
)
def test_quantities(text: str, number: int) -> None:
    assert units.quantity(text) == number


@pytest.mark.parametrize("text", ["", "s", "1d", "1 s", "s1", "1s2", "ten", "1" * 100 + "s", "٣s"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 200ms"):
        units.duration(text)


@pytest.mark.parametrize("text", ["", "Gi", "1KiB", "1 k", "1e", "0x10", "1e999", "K", "1gi", "1" * 100])
def test_other_texts_are_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 1000"):
        units.quantity(text)


@pytest.mark.parametrize("value", [5, 1.5, True, None, [], {}])
def test_a_duration_is_a_text(value: Any) -> None:
    with pytest.raises(ValueError, match="a text such as 60s"):
        units.decode(units.Duration, value)


@pytest.mark.parametrize(
    ("value", "seconds"), [(60_000_000_000, 60.0), ("60s", 60.0), ("200ms", 0.2), (0, 0.0), (-1, -1e-9)]
)
def test_a_go_duration_is_a_text_or_nanoseconds(value: Any, seconds: float) -> None:
    found = units.decode(units.GoDuration, value)
    assert (type(found), found) == (units.GoDuration, seconds)


@pytest.mark.parametrize("value", [1.5, True, None, [], {}])
def test_a_go_duration_is_nothing_else(value: Any) -> None:
    with pytest.raises(ValueError, match="a text such as 60s, or nanoseconds"):
        units.decode(units.GoDuration, value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "200ms"), (60.0, "60s"), (90.5, "90.5s"), (0.0, "0s"), (-0.5, "-500ms"), (1e-9, "0.000000001s")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert units.encode(units.Duration(seconds)) == text


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-9, 1e12) | st.integers(-(10**12), 10**12).map(lambda ns: ns / 1e9))
def test_a_duration_that_was_written_is_read_as_the_same(seconds: float) -> None:
    assert units.duration(units.duration_text(seconds)) == seconds


def test_what_is_no_unit_is_not_written() -> None:
    assert units.encode(units.Quantity(5)) == 5
    with pytest.raises(TypeError, match="set cannot be written"):
        units.encode(set())


@pytest.mark.parametrize("value", [True, None, [], float("inf"), float("nan")])
def test_a_quantity_is_a_number_or_a_text(value: Any) -> None:
    with pytest.raises(ValueError, match="10"):
        units.decode(units.Quantity, value)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12) | st.from_regex(r"[0-9.+-]{1,4}[a-zA-Z0-9]{0,4}"))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for read in (units.duration, units.quantity):
        try:
            assert isinstance(read(text), int | float)
        except ValueError:
            continue
