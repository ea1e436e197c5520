"""A table for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from bench.routing.glance import Line
from bench.routing.intervals import Interval


def table(lines: Sequence[Line]) -> Table:
    """The figures that matter first, for a terminal; the rest is in the report."""
    view = Table(title="ours against the reference's better policy, at the hardest load that tells")
    view.add_column("scene")
    for name in ("load", "reference", "goodput %", "ours", "÷", "TTFT p90 s", "ours", "÷", "capacity ÷"):
        view.add_column(name, justify="right")
    for line in lines:
        cells = [f"{line.load.rate:.3g}/s", str(line.load.reference)]
        for key in ("goodput", "ttft_p90"):
            cells += [_cell(each) for each in (*line.pair(key), line.load.ratio[key])]
        ratio = line.scene.capacity_ratio
        view.add_row(line.scene.name, *cells, "" if ratio is None else _cell(ratio))
    return view


def _cell(value: Interval) -> str:
    if value.mean is None:
        return "-"
    return f"{value.mean:.3g}" + ("" if value.half is None else f" [dim]±{value.half:.2g}[/]")
