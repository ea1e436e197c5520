"""A figure is held against its budget by its median, side by side."""

import pytest

from bench.figures import Figure, amount, verdict


def figure(*values: float, budget: float | None = 10.0, **others: list[float]) -> Figure:
    return Figure("key", "title", "µs", {"ours": list(values), **others}, budget)


@pytest.mark.parametrize(
    ("values", "met"),
    [((9.0, 10.0, 99.0), True), ((1.0, 10.1, 11.0), False), ((10.0,), True)],
)
def test_the_median_keeps_the_budget_or_not(values: tuple[float, ...], met: bool) -> None:
    assert figure(*values).met("ours") is met


def test_without_budget_or_figure_there_is_no_verdict() -> None:
    assert figure(5.0, budget=None).met("ours") is None
    assert figure(5.0).met("theirs") is None
    assert figure().met("ours") is None
    assert verdict(None) == ""


def test_the_ratio_is_that_of_the_medians() -> None:
    both = figure(1.0, 2.0, 9.0, theirs=[5.0, 6.0, 7.0])
    assert both.ratio("theirs", "ours") == 3.0
    assert both.ratio("theirs", "nobody") is None
    assert figure(0.0, theirs=[1.0]).ratio("theirs", "ours") is None


def test_the_document_has_rounds_medians_and_verdicts() -> None:
    sides = figure(8.0, 12.0, 9.0, theirs=[20.0], nothing=[]).document()["sides"]
    assert sides == {
        "ours": {"median": 9.0, "rounds": [8.0, 12.0, 9.0], "met": True},
        "theirs": {"median": 20.0, "rounds": [20.0], "met": False},
    }


def test_a_cell_shows_median_and_span() -> None:
    assert figure(8.0, 12.0, 9.0).cell("ours") == "[green]9[/] [dim](8…12.0)[/]"
    assert figure(12.0).cell("ours") == "[red]12.0[/]"
    assert figure(12.0).cell("theirs") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.03456, "0.0346"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234"), (-0.5, "-0.5")],
)
def test_amounts_have_three_figures(value: float, text: str) -> None:
    assert amount(value) == text
