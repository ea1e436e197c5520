"""The figures of a run as tables for people."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.table import Table

from bench.figures import amount

_TIMES: Final = {
    "time to first token": ("ttft", 1.0, "s"),
    "inter-token latency": ("itl", 1e3, "ms"),
    "time per output token": ("tpot", 1e3, "ms"),
    "whole answer": ("whole", 1.0, "s"),
    "sent late by": ("lateness", 1e3, "ms"),
}
"""What → key, factor, unit."""
_COLUMNS: Final = ("mean", "p50", "p90", "p99", "max")
LATE_SECONDS: Final = 0.05
"""Beyond this at the 99th percentile, the generator's own machine was too slow for honest figures."""


def times(title: str, figures: Mapping[str, Any]) -> Table:
    """A row for each latency."""
    view = Table(title=title)
    view.add_column("")
    for name in _COLUMNS:
        view.add_column(name, justify="right")
    for what, (key, factor, unit) in _TIMES.items():
        spread = figures[key]
        view.add_row(f"{what} [dim]{unit}[/]", *(_amount(spread.get(name), factor) for name in _COLUMNS))
    return view


def facts(figures: Mapping[str, Any], objective: str) -> Iterator[str]:
    """Lines below the table."""
    requests, tokens = figures["requests"], figures["tokens"]
    yield (
        f"{requests['served']} of {requests['counted']} requests served, "
        f"{_amount(figures['served_per_s'])} a second; at most {requests['most_in_flight']} in flight"
    )
    yield f"goodput ({objective}): {_percent(figures['goodput'])}, {_amount(figures['good_per_s'])} a second"
    yield (
        f"prompts: {_count(tokens['prompt'])} tokens by the server's count "
        f"({_count(tokens['planned_prompt'])} planned), {_percent(tokens['hit_rate'])} from caches"
    )
    yield f"answers: {_count(tokens['output'])} tokens, {_amount(tokens['output_per_s'])} a second"


def troubles(figures: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know before the figures are believed."""
    for kind, times in figures["errors"].items():
        yield f"{times} times {kind}"
    for told, times in figures["complaints"].items():
        yield f"  {times} times: {told}"
    if figures["requests"]["cut_off"]:
        yield f"ended early; {figures['requests']['cut_off']} requests were under way, and count for nothing"
    late = figures["lateness"]["p99"]
    if late is not None and late > LATE_SECONDS:
        yield (
            f"requests were sent up to {late * 1e3:.0f} ms late (p99): this machine could not keep the "
            "schedule. Load the server from a faster one, or at a lower --rate"
        )


def _amount(value: float | None, factor: float = 1.0) -> str:
    return "-" if value is None else amount(value * factor)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100.0:.1f} %"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
