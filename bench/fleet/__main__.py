"""Try routing policies on a fleet in virtual time, side by side on the same requests.

python -m bench.fleet --workload shared-prefix --policy round-robin,weighted,mine.yaml --rate 20 --seeds 3
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from bench.fleet import roster, workloads
from bench.fleet.fleet import ENGINE, FLEETS, Fleet, slowed
from bench.fleet.outcome import Objective, Summary
from bench.fleet.show import table
from bench.fleet.trying import Trial, run_all
from bench.processes import ROOT
from endpoint_picker.core.errors import ConfigError

TRACES: Final = ROOT.parent / "shared" / "traces"
WIDTH: Final = 140
"""Columns where the output is no terminal."""


def main() -> int:
    parser = _parser()
    flags = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        trials = _trials(flags)
        console.print(table(_title(flags), _summaries(trials, flags, console)))
    except (ValueError, FileNotFoundError, ConfigError) as error:
        parser.error(str(error))
    return 0


def _summaries(
    trials: Sequence[Trial], flags: argparse.Namespace, console: Console
) -> dict[str, list[Summary]]:
    goodput = Objective(ttft=flags.ttft, tpot=flags.tpot / 1e3)
    found: dict[str, list[Summary]] = {trial.policy.name: [] for trial in trials}
    done = run_all(trials, jobs=flags.jobs)
    for trial, outcome in track(done, "simulating", len(trials), console=console, transient=True):
        found[trial.policy.name].append(outcome.summary(since=flags.skip, goodput=goodput))
    return found


def _trials(flags: argparse.Namespace) -> list[Trial]:
    fleet = _fleet(flags)
    specs = [roster.find(name) for name in flags.policy.split(",")]
    doubles = {spec.name for spec in specs if [each.name for each in specs].count(spec.name) > 1}
    if doubles:
        raise ValueError(f"two policies are called {min(doubles)}; rename one of the files")
    return [
        Trial(flags.workload, flags.rate, flags.requests, flags.trace, fleet, spec, seed)
        for seed in range(1, flags.seeds + 1)
        for spec in specs
    ]


def _fleet(flags: argparse.Namespace) -> Fleet:
    return replace(
        FLEETS[flags.fleet](flags.replicas, slowed(ENGINE, 1.0 / flags.speed)),
        pickers=flags.pickers,
        scrape_interval=flags.scrape_interval,
        wrong_blocks=flags.wrong_blocks,
        event_delay=flags.event_delay,
    )


def _title(flags: argparse.Namespace) -> str:
    seeds = "1 seed" if flags.seeds == 1 else f"mean of {flags.seeds} seeds"
    return (
        f"{flags.workload}: {flags.requests} requests, {flags.rate:g} a second, "
        f"on {flags.replicas} replicas ({flags.fleet}); {seeds}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--workload", default="shared-prefix", choices=workloads.WORKLOADS, help="who asks what (%(default)s)"
    )
    add(
        "--policy",
        default="round-robin,least-request,weighted,affinity,default",
        metavar="NAME,…",
        help=f"of {', '.join(roster.names())}, or files of configurations (%(default)s)",
    )
    add("--replicas", type=int, default=8, metavar="N", help="engines (%(default)s)")
    add("--fleet", default="uniform", choices=FLEETS, help="what engines (%(default)s)")
    add("--speed", type=float, default=1.0, metavar="X", help="how many times as fast as usual they are (1)")
    add("--rate", type=float, default=10.0, metavar="R", help="requests a second, on average (%(default)g)")
    add("--requests", type=int, default=2000, metavar="N", help="how many in all (%(default)s)")
    add("--seeds", type=int, default=1, metavar="N", help="runs of each policy (%(default)s)")
    add("--pickers", type=int, default=1, metavar="N", help="that choose side by side (%(default)s)")
    add(
        "--scrape-interval",
        type=float,
        default=0.05,
        metavar="S",
        help="seconds between two readings of a replica's gauges (%(default)s)",
    )
    add(
        "--wrong-blocks",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of its blocks about which the index of prefixes errs (%(default)s)",
    )
    add(
        "--event-delay",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds until policies that are fed by events know what a cache holds (%(default)g)",
    )
    add("--ttft", type=float, default=2.0, metavar="S", help="time to first token that is good (%(default)s)")
    add("--tpot", type=float, default=50.0, metavar="MS", help="time per token that is good (%(default)s)")
    add(
        "--skip", type=float, default=0.0, metavar="S", help="seconds at the start not to count (%(default)s)"
    )
    add("--trace", type=Path, default=TRACES, metavar="DIR", help="where traces are (%(default)s)")
    add("--jobs", type=int, metavar="N", help="processes at a time (as many as there are cores)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
