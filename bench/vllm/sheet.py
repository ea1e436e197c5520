"""What is told of the runs: figures side by side, as a table and for a machine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import filterfalse
from statistics import fmean
from typing import Any, Final

from rich.table import Table

from bench.figures import Figure, amount
from bench.vllm.course import Plan, Run, heading
from bench.vllm.gateway import SIDES
from bench.vllm.replicas import LONG_TOKENS

NOTES: Final = (
    "Ratios are taken round by round, of the same conversations, a minute or two apart.",
    "Each conversation waits for its answers: a side that answers sooner is asked sooner.",
    f"Where the two sides' times for {LONG_TOKENS:,} tokens alone differ, or their rounds do, something else "
    "kept the machine busy.",
    "With so few requests a round, its p99 is about its slowest one.",
)

_Read = Callable[[Run], float]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """All of them; a round without any answer has no times."""

    def figure(key: str, title: str, unit: str, read: _Read) -> Figure:
        rounds = {side: [read(run) for run in runs if run.side == side] for side in SIDES}
        return Figure(key, title, unit, {side: [*filterfalse(math.isnan, rounds[side])] for side in rounds})

    replicas = range(max((len(run.replicas) for run in runs), default=0))
    return [
        figure("requests", "requests", "", lambda run: run.outcome.requests),
        figure("errors", "errors", "", lambda run: run.outcome.errors),
        figure("ttft_mean_ms", "time to first token, mean", "ms", _first_token_mean),
        *(figure(*each) for each in _times("ttft", "time to first token", (50, 90, 99))),
        *(figure(*each) for each in _times("itl", "inter-token latency", (50, 99))),
        figure("seconds", "until the last answer", "s", lambda run: run.outcome.seconds),
        figure("cached", "cached tokens, by usage", "% of prompts", _cached),
        figure("hits", "prefix cache hits, by the engines", "% of queries", _hits),
        *(
            each
            for number in replicas
            for each in (
                figure(f"queries_{number}", f"replica {number}: queries", "tokens", _of(number, "queries")),
                figure(f"hits_{number}", f"replica {number}: hits", "tokens", _of(number, "hits")),
                figure(f"requests_{number}", f"replica {number}: requests", "", _of(number, "requests")),
            )
        ),
        figure("computed", "tokens of prompts computed", "", _computed),
        figure("alone", f"{LONG_TOKENS:,} tokens alone, before", "s", lambda run: run.alone),
    ]


def line(run: Run) -> str:
    """What has come out of one, in a line."""
    return (
        f"{heading(run.number, run.side)}: first token after {amount(_first_token_mean(run))} ms on average, "
        f"{_hits(run):.0f} % cached, {run.outcome.errors} errors; "
        f"{LONG_TOKENS:,} tokens alone: {run.alone:.1f} s"
    )


def title(plan: Plan) -> str:
    shape = plan.shape
    rounds = "1 round" if plan.rounds == 1 else f"median (least…most) of {plan.rounds} rounds"
    return f"vLLM on the CPU: {shape.sessions} conversations of {shape.turns} turns; {rounds}"


def table(rows: Sequence[Figure], title: str) -> Table:
    """A line for each figure, a column for each side, and how they compare."""
    view = Table(title=title)
    view.add_column("")
    view.add_column("")
    for side in (*SIDES.values(), "picker ÷ round robin"):
        view.add_column(side, justify="right")
    for row in rows:
        ratios = Figure(row.key, row.title, "", {"picker": _ratios(row)})
        view.add_row(row.title, row.unit, *map(row.cell, SIDES), ratios.cell("picker"))
    return view


def facts(plan: Plan) -> dict[str, Any]:
    """What was asked for."""
    file = plan.config_file
    return {
        "seed": plan.seed,
        "rounds": plan.rounds,
        "shape": asdict(plan.shape),
        "configuration": None if file is None else file.read_text(encoding="utf-8"),
    }


def document(facts: dict[str, Any], rows: Sequence[Figure], runs: Sequence[Run]) -> dict[str, Any]:
    """All of it for a machine: figures, and each run that they were made from."""
    return {
        **facts,
        "notes": NOTES,
        "figures": [row.document() | {"ratios": _ratios(row)} for row in rows],
        "runs": [
            {
                "round": run.number + 1,
                "side": run.side,
                "alone_s": run.alone,
                "replicas": [asdict(each) for each in run.replicas],
                **asdict(run.outcome),
            }
            for run in runs
        ],
    }


def _ratios(row: Figure) -> list[float]:
    """The picker's figure over round robin's, round by round; none where a round lacks one."""
    pairs = list(zip(row.rounds["round_robin"], row.rounds["picker"], strict=False))
    whole = len(pairs) == max(map(len, row.rounds.values())) and all(robin > 0.0 for robin, _ in pairs)
    return [picker / robin for robin, picker in pairs] if whole else []


def _times(key: str, title: str, percentiles: Sequence[int]) -> list[tuple[str, str, str, _Read]]:
    return [(f"{key}_p{p}_ms", f"{title} p{p}", "ms", _summed(f"{key}_p{p}_ms")) for p in percentiles]


def _summed(key: str) -> _Read:
    return lambda run: run.outcome.summary()[key]


def _first_token_mean(run: Run) -> float:
    seconds = run.outcome.first_token_seconds
    return 1e3 * fmean(seconds) if seconds else math.nan


def _cached(run: Run) -> float:
    return 100.0 * run.outcome.summary()["prefix_hit_rate"]


def _of(number: int, name: str) -> _Read:
    return lambda run: getattr(run.replicas[number], name)


def _queries_and_hits(run: Run) -> tuple[int, int]:
    return sum(each.queries for each in run.replicas), sum(each.hits for each in run.replicas)


def _hits(run: Run) -> float:
    queries, hits = _queries_and_hits(run)
    return 100.0 * hits / max(1, queries)


def _computed(run: Run) -> float:
    queries, hits = _queries_and_hits(run)
    return queries - hits
