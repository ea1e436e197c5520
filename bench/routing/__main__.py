"""From flags to a report: `python -m bench.routing`, or `make bench-routing`."""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec
from rich.console import Console

from bench import results
from bench.processes import ROOT, Failed, end_on_signals
from bench.routing import budget, glance, origin, plots
from bench.routing.course import Course
from bench.routing.crew import Crew, Hands
from bench.routing.meter import Meter, duration
from bench.routing.pages import report
from bench.routing.scenes import plan
from bench.routing.settings import Settings, parse
from bench.routing.sheet import SceneSheet, sheet
from bench.routing.show import table
from endpoint_picker.core.errors import ConfigError

WIDTH: Final = 140
"""Columns where the output is no terminal."""


async def routing(settings: Settings, console: Console, hands: Hands) -> None:
    """Simulate, print, write. Raises ValueError when nothing can be run, Failed when a process ends early."""
    planned = plan(settings)
    facts, sources, began = results.machine(), origin.sources(), monotonic()
    for told in planned.skipped:
        console.print(told, style="yellow", highlight=False)
    work = budget.total(settings, planned)
    seconds = budget.estimate(work, settings.jobs, facts["yardstick_ms"])
    console.print(results.told(facts), highlight=False)
    console.print(
        f"{len(planned.scenes)} scenes, {len(settings.policies)} policies, {settings.seeds} seeds: about "
        f"{duration(seconds)} in {settings.jobs} processes",
        highlight=False,
    )
    with Meter(console, work, seconds) as meter:
        played = await Course(settings, planned, hands, meter).run()
    come = report.Origin(
        command=settings.command,
        machine=facts,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(monotonic() - began, 1),
        commit=origin.commit(),
        changed=origin.changed(),
        sources=sources,
        policies=[spec.name for spec in settings.policies],
        seeds=settings.seeds,
        requests=settings.requests,
        replicas=settings.replicas,
        ttft=settings.objective.ttft,
        tpot_ms=settings.objective.tpot * 1e3,
        remarks=[*planned.skipped, *_changed(sources)],
    )
    _write(come, [sheet(each) for each in played], settings.into, console)


def _write(come: report.Origin, sheets: Sequence[SceneSheet], folder: Path, console: Console) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"origin": msgspec.to_builtins(come), "scenes": msgspec.to_builtins(sheets)}
    file = folder / "routing.json"
    file.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    pictures = plots.draw(sheets, folder / "routing")
    html = folder / "routing.html"
    html.write_text(report.page(come, sheets, pictures), encoding="utf-8")
    console.print(table(glance.lines(sheets)))
    console.print(
        f"written to {_told(html)}, {_told(file)} and {_told(folder / 'routing')}/", highlight=False
    )


def _changed(sources: str) -> list[str]:
    if origin.sources() == sources:
        return []
    return ["The code was changed while this ran; the figures are those of the code at its start."]


def _told(file: Path) -> Path:
    return file.relative_to(ROOT) if file.is_relative_to(ROOT) else file


async def _run(settings: Settings, console: Console) -> None:
    end_on_signals()
    with Crew(settings.jobs) as crew:
        await routing(settings, console, crew)


def main() -> int:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        asyncio.run(_run(parse(), console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except (ValueError, ConfigError, Failed) as error:
        print(f"bench-routing: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
