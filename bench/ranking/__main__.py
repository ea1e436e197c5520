"""Do policies rank in HTTP as they do in virtual time?

Simulated replicas in real time behind the real Envoy, one policy after the other on the same requests; beside
it the virtual fleet with the same engines, requests and policies. Prints both, says whether the rankings
agree, and writes bench/results/ranking.json.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console

from bench import results
from bench.fleet import roster, workloads
from bench.fleet.__main__ import TRACES
from bench.fleet.outcome import Objective
from bench.fleet.policy import PolicySpec
from bench.processes import Failed, end_on_signals
from bench.ranking import show
from bench.ranking.course import ROUND_ROBIN, Course, real, virtual
from bench.ranking.verdict import Sample, World
from bench.routing.meter import duration
from endpoint_picker.core.errors import ConfigError

WIDTH: Final = 130
"""Columns where the output is no terminal."""
LOGS: Final = results.FOLDER / "ranking"


def main() -> int:
    parser = _parser()
    flags = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    course = _course(flags)
    try:
        policies = _policies(flags.policy)
        LOGS.mkdir(parents=True, exist_ok=True)
        return uvloop.run(_run(course, policies, console))
    except (ValueError, FileNotFoundError, ConfigError) as error:
        parser.error(str(error))
    except Failed as error:
        print(f"bench.ranking: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def _run(course: Course, policies: list[PolicySpec], console: Console) -> int:
    end_on_signals()
    workload = course.made()
    fleets: dict[str, Sample] = {}
    for policy in policies:
        console.print(f"{policy.name} in virtual time", highlight=False)
        fleets[policy.name] = virtual(course, workload, policy)
    left = course.requests / course.rate * len(policies)
    console.print(f"now in HTTP, about {duration(left)}", highlight=False)
    http: dict[str, Sample] = {}
    for policy in policies:
        console.print(f"{policy.name} in HTTP", highlight=False)
        http[policy.name] = await real(course, workload, policy, LOGS, console)
    _tell(course, http, fleets, console)
    return 0 if show.agree(http, fleets) else 1


def _tell(course: Course, http: World, fleets: World, console: Console) -> None:
    title = (
        f"{course.workload}: {course.requests} requests, {course.rate:g} a second, seed {course.seed}; "
        f"{course.replicas} replicas, {course.slow:g} times as slow as usual"
    )
    console.print(show.table(title, http, fleets))
    for line in show.lines(http, fleets):
        console.print(line, highlight=False, markup=False)
    for line in show.troubles(http):
        console.print(line, style="red", highlight=False, markup=False)
    console.print(f"written to {results.write('ranking', _document(course, http, fleets))}", highlight=False)


def _document(course: Course, http: World, fleets: World) -> dict[str, Any]:
    names = ("workload", "requests", "rate", "seed", "most_tokens", "replicas", "slow", "scrape_interval")
    asked = {name: getattr(course, name) for name in names}
    goal = {"ttft": course.objective.ttft, "tpot": course.objective.tpot}
    return {
        "machine": results.machine(),
        "asked": asked | {"objective": goal},
        **show.document(http, fleets),
    }


def _policies(names: str) -> list[PolicySpec]:
    """Raises ValueError for those that HTTP has no way to run."""
    found = [roster.find(name) for name in dict.fromkeys(names.split(","))]
    strange = [each.name for each in found if each.baseline and each.name != ROUND_ROBIN]
    if strange:
        raise ValueError(f"{strange[0]} is a policy of the virtual fleet only; {ROUND_ROBIN} is Envoy's own")
    return found


def _course(flags: argparse.Namespace) -> Course:
    return Course(
        workload=flags.workload,
        requests=flags.requests,
        rate=flags.rate,
        seed=flags.seed,
        most_tokens=flags.max_tokens,
        replicas=flags.replicas,
        slow=flags.slow,
        scrape_interval=flags.scrape_interval,
        objective=Objective(ttft=flags.ttft, tpot=flags.tpot / 1e3),
        traces_at=flags.trace,
    )


def _parser() -> argparse.ArgumentParser:
    usual = Course(traces_at=TRACES)
    single = [name for name in workloads.WORKLOADS if name not in ("chat", "agentic", "lora")]
    parser = argparse.ArgumentParser(
        prog="python -m bench.ranking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--policy",
        default="round-robin,weighted,affinity,default",
        metavar="NAME,…",
        help=f"of {', '.join(roster.shipped())}, {roster.DEFAULT}, {ROUND_ROBIN} (Envoy alone), or files of "
        "configurations (%(default)s)",
    )
    add("--workload", default=usual.workload, choices=single, help="who asks what (%(default)s)")
    add("--requests", type=int, default=usual.requests, metavar="N", help="how many (%(default)s)")
    add("--rate", type=float, default=usual.rate, metavar="R", help="requests a second (%(default)g)")
    add("--seed", type=int, default=usual.seed, metavar="N", help="of the requests (%(default)s)")
    add("--max-tokens", type=int, default=usual.most_tokens, metavar="N", help="of an answer (%(default)s)")
    add("--replicas", type=int, default=usual.replicas, metavar="N", help="engines (%(default)s)")
    add(
        "--slow",
        type=float,
        default=usual.slow,
        metavar="X",
        help="times as long as usual that engines take for a step (%(default)g); rate and objective are as "
        "the wall clock has them",
    )
    add(
        "--scrape-interval",
        type=float,
        default=usual.scrape_interval,
        metavar="S",
        help="seconds between two readings of a replica's gauges (%(default)g)",
    )
    add("--ttft", type=float, default=usual.objective.ttft, metavar="S", help="that is good (%(default)g)")
    add("--tpot", type=float, default=usual.objective.tpot * 1e3, metavar="MS", help="likewise (%(default)g)")
    add("--trace", type=Path, default=TRACES, metavar="DIR", help="where traces are (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
