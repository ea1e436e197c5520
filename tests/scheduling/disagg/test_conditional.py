"""Requests that only want what is cached."""

import pytest

from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.scheduling.disagg.conditional import unavailable, wanted
from endpoint_picker.testing import request_with, table_of
from tests.fakes.deciding import decided

KEY = prefix_match()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("if-available", True),
        ("If-Available", True),
        ("  if-available  ", True),
        ("respond-async, if-available", True),
        ("respond-async,if-available,wait=10", True),
        ("if-available; max=5", True),
        ("if-available ;max=5, wait=10", True),
        ("respond-async; x=1, IF-AVAILABLE;y", True),
        ("", False),
        (",,", False),
        ("respond-async", False),
        ("if-available-but-different", False),
        ("not-if-available", False),
        ("respond-async; if-available", False),
        ("if available", False),
        ("if-available=", False),
    ],
)
def test_the_preference_is_found(value: str, expected: bool) -> None:
    assert wanted(value) == expected


@pytest.mark.parametrize(
    ("prefer", "held", "expected"),
    [
        ("if-available", [0, 0], True),
        ("if-available", [0, 1], False),  # a part is enough
        ("if-available", [9, 0], True),  # another endpoint's cache helps nobody
        ("if-available", None, True),
        ("wait=5", [0, 0], False),
        (None, None, False),
    ],
)
def test_the_first_choice_must_hold_some_of_the_prompt(
    prefer: str | None, held: list[int] | None, expected: bool
) -> None:
    table = table_of([Gauges()] * 2)
    headers = {} if prefer is None else {"prefer": prefer}
    request = request_with(table, headers=headers, match=held)
    assert unavailable(request, decided(table, 1, prefill=0), KEY) == expected


def test_the_fact_that_is_named_counts() -> None:
    table = table_of([Gauges()] * 2)
    request = request_with(table, headers={"prefer": "if-available"}, match=[1, 1])
    assert not unavailable(request, decided(table, 1), KEY)
    assert unavailable(request, decided(table, 1), prefix_match("exact"))


def test_an_endpoint_that_came_later_holds_nothing() -> None:
    table = table_of([Gauges()] * 2)
    request = request_with(table, headers={"prefer": "if-available"}, match=[1, 1])
    late = table_of([Gauges()] * (table.capacity + 1))
    assert unavailable(request, decided(late, table.capacity), KEY)
