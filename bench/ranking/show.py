"""Both worlds side by side, for people and for machines."""

import math
from collections.abc import Iterator
from typing import Any, Final

from rich.table import Table

from bench.load.show import LATE_SECONDS
from bench.ranking.verdict import METRICS, Agreement, Metric, Sample, World, agreement, ranking

WORLDS: Final = ("HTTP", "virtual")


def table(title: str, http: World, virtual: World) -> Table:
    """A policy a row, each figure in both worlds."""
    view = Table(title=title)
    view.add_column("policy", no_wrap=True)
    for heading in ("TTFT mean s", "TTFT p90 s", "goodput %", "hits %"):
        for world in WORLDS:
            view.add_column(f"{heading}\n[dim]{world}[/]", justify="right")
    view.add_column("cores", justify="right")
    view.add_column("failed", justify="right")
    for policy, sample in http.items():
        cells = [
            cell
            for one, other in zip(_cells(sample), _cells(virtual[policy]), strict=True)
            for cell in (one, other)
        ]
        view.add_row(policy, *cells, f"{sample.facts['cores']:.2f}", str(sample.facts["failed"]))
    return view


def _cells(sample: Sample) -> Iterator[str]:
    for key, metric in METRICS.items():
        value = metric.value(sample)
        yield f"{value * 100.0:.1f}" if key == "goodput" else f"{value:.3f}"
    yield f"{sample.hit_rate * 100.0:.1f}"


def lines(http: World, virtual: World) -> Iterator[str]:
    """What both say, metric by metric; `<`: is ahead of, `=`: a tie."""
    for metric in METRICS.values():
        yield from _said(metric, agreement(metric, http, virtual), http, virtual)


def _said(metric: Metric, both: Agreement, http: World, virtual: World) -> Iterator[str]:
    pairs = len(both.alike) + len(both.open) + len(both.against)
    yield (
        f"{metric.title}: {'the rankings agree' if both.holds else 'the rankings DISAGREE'}: "
        f"{len(both.alike)} of {pairs} pairs alike, {len(both.open)} decided in one world only, "
        f"{len(both.against)} the other way round"
    )
    for world, runs in zip(WORLDS, (http, virtual), strict=True):
        yield f"  {world:8}{ranking(metric, runs)}"
    for pair in both.against:
        yield f"  the other way round: {pair[0]} and {pair[1]}"


def troubles(http: World) -> Iterator[str]:
    """What must be known before the figures are believed."""
    for policy, sample in http.items():
        if sample.facts["late_p99"] > LATE_SECONDS:
            yield (
                f"{policy}: requests were sent up to {sample.facts['late_p99'] * 1e3:.0f} ms late (p99): "
                "the machine was busy with something else, or --slow is too low for it"
            )
        for told in sample.facts["complaints"]:
            yield f"{policy}: {told}"


def agree(http: World, virtual: World) -> bool:
    """By every metric."""
    return all(agreement(metric, http, virtual).holds for metric in METRICS.values())


def document(http: World, virtual: World) -> dict[str, Any]:
    """For a machine to read."""
    return {
        "agree": agree(http, virtual),
        "policies": {
            policy: {
                world: _figures(runs[policy])
                for world, runs in zip(("http", "virtual"), (http, virtual), strict=True)
            }
            for policy in http
        },
        "rankings": {
            key: {
                "http": ranking(metric, http),
                "virtual": ranking(metric, virtual),
                **_pairs(agreement(metric, http, virtual)),
            }
            for key, metric in METRICS.items()
        },
    }


def _figures(sample: Sample) -> dict[str, Any]:
    values = {key: metric.value(sample) for key, metric in METRICS.items()}
    known = {key: None if math.isnan(value) else value for key, value in values.items()}
    return known | {"hit_rate": sample.hit_rate} | dict(sample.facts)


def _pairs(both: Agreement) -> dict[str, Any]:
    return {"alike": both.alike, "in_one_only": both.open, "against": both.against}
