"""Flags, table and file: `python -m bench.micro [PART …]`, or `make bench-micro`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import results
from bench.figures import Figure, amount, verdict
from bench.micro import catalogue, codec, frames, parsing, prefix, schedule
from bench.micro.timing import SIDE, Pace

PARTS: Final[Mapping[str, Callable[[Pace], list[Figure]]]] = {
    "schedule": schedule.figures,
    "catalogue": catalogue.figures,
    "prefix": prefix.figures,
    "parsing": parsing.figures,
    "codec": codec.figures,
    "frames": frames.figures,
}
QUICK: Final = Pace(runs=5, seconds=0.03, quick=True)
WIDTH: Final = 110
"""Columns where the output is no terminal."""


def micro(parts: Sequence[str], pace: Pace, console: Console) -> None:
    """Measure, print, write."""
    facts = results.machine()
    console.print(results.told(facts))
    rows = []
    for part in track(parts, "measuring", console=console, transient=True):
        rows += PARTS[part](pace)
    console.print(table(rows))
    if len(parts) == len(PARTS):  # a part must not take the place of the whole
        document = {"machine": facts, "figures": [row.document() for row in rows]}
        console.print(f"written to {results.write('micro', document)}")


def table(rows: Sequence[Figure]) -> Table:
    """One operation a row."""
    view = Table(title="micro: CPU of one operation; the median of the runs counts")
    view.add_column("")
    for name in ("median", "least", "", "budget", ""):
        view.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    for row in rows:
        least = amount(min(row.rounds[SIDE]))
        view.add_row(
            row.title, amount(row.median(SIDE)), least, row.unit, row.allowed(), verdict(row.met(SIDE))
        )
    return view


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="shorter, and with a smaller index")
    flags = parser.parse_args()
    unknown = [part for part in flags.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no {unknown[0]}: choose from {', '.join(PARTS)}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    micro(flags.parts or list(PARTS), QUICK if flags.quick else Pace(), console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
