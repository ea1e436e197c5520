"""Two real vLLM replicas on this machine's CPU, behind Envoy: the same conversations with round robin and
with the picker, in several rounds. The model is small and its weights are random; a prompt of 4,000 tokens
takes it a second or more. Prints both sides, by the engines' own counters where they count, and writes
`bench/results/vllm.json`.
"""

import argparse
import asyncio
import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import results
from bench.processes import ROOT, Failed, end_on_signals
from bench.traffic import Shape
from bench.vllm import course, replicas, sheet
from bench.vllm.course import Plan, Run
from bench.vllm.engine import BLOCK

LOGS: Final = results.FOLDER / "vllm"
SHAPE: Final = Shape(
    sessions=12,
    turns=6,
    system_prompts=3,
    system_words=1500,
    document_words=1500,
    question_words=100,
    answer_tokens=32,
    think_seconds=5.0,
    spread_seconds=30.0,
)
"""First prompts of 3,100 tokens, half of which other conversations share; last ones of 3,800."""
CACHE_TOKENS: Final = 768 * BLOCK
"""Of a replica: all conversations together need a third more, so it matters who goes where."""
ROUNDS: Final = 2
SEED: Final = 7
WIDTH: Final = 150
"""Columns where the output is no terminal."""


async def compare(plan: Plan, cache_tokens: int, console: Console) -> int:
    """Run, print, write; answers the exit code."""
    end_on_signals()
    machine = results.machine()
    console.print(results.told(machine))
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    console.print(f"starting {replicas.COUNT} engines, a minute or two; logs: {LOGS.relative_to(ROOT)}")
    async with replicas.running(LOGS, cache_tokens) as pair:
        runs = await _shown(plan, pair, console)
    rows = sheet.figures(runs)
    console.print(sheet.table(rows, sheet.title(plan)))
    for note in sheet.NOTES:
        console.print(f"· {note}", style="dim", highlight=False)
    facts = {"machine": machine, "cache_tokens": cache_tokens, **sheet.facts(plan)}
    console.print(f"written to {results.write('vllm', sheet.document(facts, rows, runs))}")
    return 1 if any(run.outcome.errors for run in runs) else 0


async def _shown(plan: Plan, pair: course.Replicas, console: Console) -> list[Run]:
    """All runs, with a bar for each."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    runs = []
    with Progress(*columns, console=console) as progress:

        def begins(title: str) -> Callable[[], None]:
            task = progress.add_task(title, total=plan.shape.sessions * plan.shape.turns)
            return lambda: progress.advance(task)

        async for run in course.runs(plan, pair, LOGS, begins):
            runs.append(run)
            console.print(sheet.line(run), highlight=False)
            for complaint, times in run.outcome.complaints.items():
                console.print(f"  {times} times {complaint}", style="red")
    return runs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.vllm",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--rounds", type=_some, default=ROUNDS, help="how often each side is run, two minutes each time"
    )
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first round's conversations")
    parser.add_argument("--sessions", type=_some, default=SHAPE.sessions, help="conversations of a round")
    parser.add_argument("--turns", type=_some, default=SHAPE.turns, help="requests of a conversation")
    parser.add_argument(
        "--cache-tokens", type=_cache, default=CACHE_TOKENS, help="that a replica's KV cache has room for"
    )
    parser.add_argument(
        "--config-file", type=_file, metavar="FILE", help="the picker's configuration, not its own default"
    )
    return parser.parse_args()


def _some(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _cache(text: str) -> int:
    if (tokens := _some(text)) < replicas.MOST_TOKENS:
        raise argparse.ArgumentTypeError(
            f"{tokens} is too few: the engine wants room for the longest request, {replicas.MOST_TOKENS}"
        )
    return tokens


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text).resolve()


def main() -> int:
    flags = arguments()
    shape = dataclasses.replace(SHAPE, sessions=flags.sessions, turns=flags.turns)
    plan = Plan(1 if flags.quick else flags.rounds, flags.seed, shape, flags.config_file)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        return asyncio.run(compare(plan, flags.cache_tokens, console))
    except Failed as error:
        print(f"bench-vllm: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
