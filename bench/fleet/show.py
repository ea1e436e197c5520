"""Policies side by side, for people."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rich.table import Table

from bench.fleet.outcome import Summary

Figure = Callable[[Summary], float]

COLUMNS: Final[Mapping[str, tuple[Figure, str]]] = {
    "TTFT p50": (lambda each: each.ttft_p50, "s"),
    "p90": (lambda each: each.ttft_p90, "s"),
    "p99": (lambda each: each.ttft_p99, "s"),
    "ITL p50": (lambda each: each.itl_p50 * 1e3, "ms"),
    "ITL p99": (lambda each: each.itl_p99 * 1e3, "ms"),
    "goodput": (lambda each: each.goodput * 100.0, "%"),
    "attained": (lambda each: each.attained * 100.0, "%"),
    "hits": (lambda each: each.hit_rate * 100.0, "%"),
    "refused": (lambda each: each.refused * 100.0, "%"),
    "failed": (lambda each: each.failed * 100.0, "%"),
    "balance": (lambda each: each.balance, ""),
}
"""Heading → the figure, and its unit."""


def table(title: str, runs: Mapping[str, Sequence[Summary]]) -> Table:
    """A policy a row: the mean of its runs, and half their span where they differ."""
    view = Table(title=title, caption=_CAPTION)
    view.add_column("policy", no_wrap=True)
    for name, (_, unit) in COLUMNS.items():
        view.add_column(f"{name} [dim]{unit}[/]".strip(), justify="right")
    for policy, summaries in runs.items():
        view.add_row(policy, *(_cell([figure(each) for each in summaries]) for figure, _ in COLUMNS.values()))
    return view


_CAPTION: Final = (
    "goodput: TTFT and TPOT within the objective; attained: the same, but a prompt may take three times as "
    "long as it does alone; balance: the busiest replica's time over the mean; ±: half the span of the seeds"
)


def _cell(values: Sequence[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    text, half = _number(sum(known) / len(known)), (max(known) - min(known)) / 2.0
    return f"{text}\n[dim]±{_number(half)}[/]" if half else text


def _number(value: float) -> str:
    if value == 0.0:
        return "0"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
