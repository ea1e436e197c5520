"""Outcomes of several phases side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Row = tuple[str, str, str]
"""What it is, its key in the summary, its unit."""


def table(
    title: str, rows: Sequence[Row], sides: Mapping[str, str], summary: Mapping[str, Mapping[str, Any]]
) -> Table:
    """A column for each side (key in the summary → its heading)."""
    view = Table(title=title)
    view.add_column("")
    for heading in sides.values():
        view.add_column(heading, justify="right")
    for what, key, unit in rows:
        view.add_row(what, *(_shown(summary[side][key], unit) for side in sides))
    return view


def _shown(value: Any, unit: str) -> str:
    match unit:
        case "%":
            return f"{100 * value:.1f} %"
        case "ms":
            return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)
