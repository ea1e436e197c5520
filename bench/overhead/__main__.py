"""Flags, table and file: `python -m bench.overhead`, or `make bench-overhead`."""

import argparse
import asyncio
import shutil
import subprocess
import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench import envoys, results
from bench.figures import Figure, verdict
from bench.overhead import measuring
from bench.overhead.course import Course, Readings, estimate
from bench.overhead.ground import TRANSPORTS, WITHOUT
from bench.overhead.measuring import Lengths
from bench.overhead.sheet import figures
from bench.overhead.show import Show
from bench.processes import Failed, end_on_signals

LOGS: Final = results.FOLDER / "overhead"
WIDTH: Final = 156
"""Columns where the output is no terminal."""
NOTES: Final = (
    "CPU is user and system time of the picker's process alone. Gross figures contain the reading of all "
    "metrics pages (every 200 ms), net ones do not: the idle CPU of the same time is taken off. Budgets are "
    "held against gross figures, for chunks against the net one, and against the default transport.",
    "The streams begin before the counting and end after it, so a chunk's figure has no share of a request.",
)


async def overhead(lengths: Lengths, console: Console) -> int:
    """Measure, print, write; answers the exit code."""
    end_on_signals()
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    facts = results.machine() | {"envoy": _envoy_version()}
    console.print(results.told(facts))
    with Show(console, estimate(lengths)) as show:
        readings = await Course(LOGS, lengths, show).run()
    rows = figures(readings)
    console.print(table(rows))
    for note in (*NOTES, *_said(readings)):
        console.print(f"· {note}", style="dim", highlight=False)
    console.print(f"written to {results.write('overhead', document(facts, lengths, readings, rows))}")
    return _complain(readings, console)


def table(rows: list[Figure]) -> Table:
    """All figures, side by side."""
    first, other = TRANSPORTS
    view = Table(title=f"overhead: median (least…most) of the rounds; ratio is {other} ÷ {first}")
    view.add_column("")
    view.add_column("")
    for name in (*TRANSPORTS, "ratio", WITHOUT, "budget", ""):
        view.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        ratio = row.ratio(other, first)
        shown = "" if ratio is None else f"{ratio:.2f}"
        cells = (*map(row.cell, TRANSPORTS), shown, row.cell(WITHOUT))
        view.add_row(row.title, row.unit, *cells, row.allowed(), verdict(row.met(first)))
    return view


def document(
    facts: dict[str, Any], lengths: Lengths, readings: Readings, rows: list[Figure]
) -> dict[str, Any]:
    """All of it for a machine: figures, and the readings that they were made from."""
    return {
        "machine": facts,
        "lengths": msgspec.to_builtins(lengths),
        "notes": NOTES,
        "figures": [row.document() for row in rows],
        "readings": msgspec.to_builtins(readings.outcomes),
    }


def _said(readings: Readings) -> list[str]:
    shares = readings.values["index_full"].values()
    least = min(share for each in shares for share in each)
    return [f"Full index: {100 * least:.1f} % of all blocks that the endpoints' caches can hold."]


def _complain(readings: Readings, console: Console) -> int:
    """Errors make figures worthless, so they are shown and end in 1."""
    errors = {
        f"{traffic}, {side}": sum(each.errors for each in runs)
        for traffic, by_side in readings.outcomes.items()
        for side, runs in by_side.items()
    }
    for where, count in errors.items():
        if count:
            console.print(f"{count} errors in {where}", style="red")
    return 1 if any(errors.values()) else 0


def _envoy_version() -> str:
    run = subprocess.run(
        (envoys.BINARY, "--version"), capture_output=True, text=True, check=False, timeout=30.0
    )
    return run.stdout.strip().rpartition("version: ")[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round instead of three")
    lengths = measuring.QUICK if parser.parse_args().quick else measuring.FULL
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        return asyncio.run(overhead(lengths, console))
    except Failed as error:
        print(f"bench-overhead: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
