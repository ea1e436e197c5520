"""Load a real server with a workload of the virtual fleet, open loop, and tell how it was served.

python -m bench.load http://127.0.0.1:8081 --workload shared-prefix --rate 4 --requests 400
"""

import argparse
import asyncio
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console

from bench.fleet import workloads
from bench.fleet.traffic import Workload
from bench.load import flags, show
from bench.load.progress import shown
from bench.load.record import Course, summary
from bench.load.sending import Pace, Sending, client
from bench.load.target import Target, model_of
from bench.processes import ENDING

WIDTH: Final = 110
"""Columns where the output is no terminal."""


def main() -> int:
    parser = flags.parser(__doc__)
    args = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        target, pace = flags.target(args), flags.pace(args)
        workload = workloads.make(
            args.workload, rate=args.rate, requests=args.requests, seed=args.seed, traces_at=args.trace
        )
        args.into.mkdir(parents=True, exist_ok=True)
        return uvloop.run(_load(args, console, workload, target, pace))
    except (ValueError, OSError) as error:
        print(f"bench.load: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before anything was sent
        return 130


async def _load(
    args: argparse.Namespace, console: Console, workload: Workload, target: Target, pace: Pace
) -> int:
    """Send, tell, write; answers the exit code."""
    async with client() as session:
        adapters = {request.adapter for request in workload}
        target = replace(target, model=await model_of(session, target, adapters))
    sending = Sending(workload, target, pace)
    console.print(
        f"{args.workload}: {len(workload)} requests, {args.rate * args.speed:g} a second, to {target.url}, "
        f"model {target.model}",
        highlight=False,
    )
    async with shown(sending, console):
        ended = await until_stopped(sending)
    figures = summary(
        sending.records,
        Course(
            planned=len(workload),
            most_in_flight=sending.most_in_flight,
            cut_off=sending.cut_off,
            warmup=args.warmup,
            objective=flags.objective(args),
        ),
    )
    _tell(console, args, figures)
    file = _write(args, target, figures)
    console.print(f"written to {file}", highlight=False)
    if not ended:
        return 130
    return 1 if figures["errors"] else 0


async def until_stopped(sending: Sending) -> bool:
    """Send until all is answered, or until a signal says that it is enough; answers whether it was all."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(sending.run())
    for each in ENDING:
        loop.add_signal_handler(each, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        for each in ENDING:
            loop.remove_signal_handler(each)
    return not task.cancelled()


def _tell(console: Console, args: argparse.Namespace, figures: dict[str, Any]) -> None:
    console.print(show.times(f"{args.workload}, seed {args.seed}, as clients saw it", figures))
    for line in show.facts(figures, f"TTFT < {args.ttft:g} s, TPOT < {args.tpot:g} ms"):
        console.print(line, highlight=False)
    for line in show.troubles(figures):
        console.print(line, style="red", highlight=False, markup=False)


def _write(args: argparse.Namespace, target: Target, figures: dict[str, Any]) -> Path:
    """No header is written down: they may hold secrets."""
    asked = {
        name: getattr(args, name)
        for name in ("workload", "rate", "requests", "seed", "speed", "api", "token_bytes", "max_tokens")
    } | {name: getattr(args, name) for name in ("concurrency", "timeout", "warmup", "ttft", "tpot")}
    document = {"url": str(target.base), "model": target.model, "asked": asked, "figures": figures}
    file: Path = args.into / "load.json"
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    sys.exit(main())
