"""Ranges of context length: the formula, the filter, labels that are no ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.attributes import TokenizedPrompt, tokenized_prompt
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.context_length import ContextLengthAware, RangeParameters
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of, wiring_of

LABEL = "llm-d.ai/context-length-range"


def table_with(*ranges: str | None) -> EndpointTable:
    return table_of((), [{} if text is None else {LABEL: text} for text in ranges])


def asking(table: EndpointTable, tokens: int | None) -> Request:
    request = request_with(table)
    if tokens is not None:
        request.attributes.write(tokenized_prompt(), TokenizedPrompt((), tokens))
    return request


def plugin_of(table: EndpointTable, *, filtering: bool = False, label: str = LABEL) -> ContextLengthAware:
    parameters = RangeParameters(label=label, enable_filtering=filtering)
    return ContextLengthAware("c", parameters, wiring_of(table))


def score(text: str | None, tokens: int) -> float:
    table = table_with(text)
    (found,) = plugin_of(table).score(asking(table, tokens), candidates_of(table)).tolist()
    return float(found)


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        # 0.3 + 0.7 * (0.7 / (1 + 10000/10000) + 0.3 * 7500/10000) = 0.3 + 0.7 * (0.35 + 0.225)
        ("0-10000", 2500, 0.7025),
        # the upper end: 0.3 + 0.7 * (0.35 + 0)
        ("0-10000", 10000, 0.545),
        # the lower end: 0.3 + 0.7 * (0.7 / (1 + 30000/10000) + 0.3) = 0.3 + 0.7 * 0.475
        ("10000-40000", 10000, 0.6325),
        ("500-500", 500, 1.0),
        # 1000 beyond the end: 0.3 / (1 + 1)
        ("0-1000", 2000, 0.15),
        # 500 short of the beginning: 0.3 / (1 + 0.5)
        ("2500-9000", 2000, 0.2),
        ("500-500", 1500, 0.15),
        (" 0 - 10000 ", 2500, 0.7025),
        (None, 2500, 0.5),
        ("", 0, 0.0),
        ("all", 0, 0.0),
        ("9-3", 5, 0.0),
        ("1-2-3", 1, 0.0),
        ("-5-10", 1, 0.0),
    ],
)
def test_scores(text: str | None, tokens: int, expected: float) -> None:
    assert score(text, tokens) == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 2 * 10**6))
def test_whoever_holds_the_prompt_is_better_than_all_who_do_not(low: int, width: int, tokens: int) -> None:
    found = score(f"{low}-{low + width}", tokens)
    inside = low <= tokens <= low + width
    assert (0.3 < found <= 1.0) if inside else (0.0 < found < 0.3)


def test_the_filter_keeps_who_holds_the_prompt_or_takes_any() -> None:
    table = table_with("0-100", "100-200", "201-300", None, "wrong")
    keeping = plugin_of(table, filtering=True)
    assert keeping.keep(asking(table, 100), candidates_of(table)).tolist() == [True, True, False, True, False]
    assert keeping.keep(asking(table, 201), candidates_of(table, [1, 2])).tolist() == [False, True]
    # A prompt of no tokens is within a range that begins at 0 only, and not within what is no range.
    assert keeping.keep(asking(table, 0), candidates_of(table)).tolist() == [True, False, False, True, False]


def test_the_filter_is_off_unless_it_is_asked_for() -> None:
    table = table_with("0-100", "wrong")
    assert plugin_of(table).keep(asking(table, 900), candidates_of(table)).tolist() == [True, True]


def test_a_length_that_is_not_known_rules_nobody_out() -> None:
    table = table_with("0-100", "wrong", None)
    plugin = plugin_of(table, filtering=True)
    assert plugin.keep(asking(table, None), candidates_of(table)).all()
    assert plugin.score(asking(table, None), candidates_of(table)).tolist() == [0.5, 0.5, 0.5]


def test_another_label_and_new_labels() -> None:
    table = table_of((), [{"mine": "0-10"}, {LABEL: "0-10"}])
    plugin = plugin_of(table, filtering=True, label="mine")
    request = asking(table, 50)
    assert plugin.keep(request, candidates_of(table)).tolist() == [False, True]
    table.replace([endpoint(0, {"mine": "0-50"}), endpoint(1, {"mine": "0-10"})])
    assert plugin.keep(request, candidates_of(table)).tolist() == [True, False]


def test_a_label_that_is_no_range_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    table = table_with("wrong", "0-10")
    plugin = plugin_of(table)
    for _ in range(3):
        plugin.score(asking(table, 5), candidates_of(table))
    (told,) = caplog.messages
    assert told == "c: the label of default/pod-0 is 'wrong', not min-max"


def test_tokens_are_required_and_a_label_is_needed() -> None:
    assert list(plugin_of(table_with()).requires()) == [tokenized_prompt()]
    with pytest.raises(ValueError, match="label is empty; name the label"):
        RangeParameters(label="")


def test_ranges_cover_rows_of_a_table_that_grew() -> None:
    table = table_with("0-10")
    plugin = plugin_of(table)
    plugin.score(asking(table, 5), candidates_of(table))
    table.replace(endpoint(i, {LABEL: "0-10"}) for i in range(40))
    scores = plugin.score(asking(table, 5), candidates_of(table))
    assert np.unique(scores).size == 1
    assert scores.size == 40
