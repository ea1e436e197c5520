"""Runs become figures: each side's rounds, their median, and one side over the other."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.figures import Figure
from bench.replay import Outcome
from bench.traffic import Shape
from bench.vllm import sheet
from bench.vllm.course import Plan, Run, Served
from bench.vllm.gateway import Side


def run(number: int, side: Side, first: list[float], hits: int, errors: int = 0) -> Run:
    """Replicas with 1,000 tokens of queries each; the second has half the hits of the first."""
    outcome = Outcome(
        requests=len(first) + errors,
        errors=errors,
        first_token_seconds=first,
        gap_seconds=[0.02] * len(first),
        seconds=10.0,
        prompt_tokens=2000,
        cached_tokens=hits * 3 // 2,
    )
    return Run(number, side, outcome, (Served(5, 1000, hits), Served(4, 1000, hits // 2)), 1.5)


RUNS = [
    run(0, "round_robin", [1.0, 3.0], 200),
    run(0, "picker", [0.5, 1.5], 600),
    run(1, "picker", [1.0, 1.0], 800),
    run(1, "round_robin", [2.0, 4.0], 400),
]


def found(runs: list[Run]) -> dict[str, Figure]:
    return {figure.key: figure for figure in sheet.figures(runs)}


@pytest.mark.parametrize(
    ("key", "round_robin", "picker"),
    [
        ("requests", [2, 2], [2, 2]),
        ("ttft_mean_ms", [2000.0, 3000.0], [1000.0, 1000.0]),
        ("ttft_p50_ms", [2000.0, 3000.0], [1000.0, 1000.0]),
        ("itl_p99_ms", [20.0, 20.0], [20.0, 20.0]),
        ("hits", [15.0, 30.0], [45.0, 60.0]),
        ("cached", [15.0, 30.0], [45.0, 60.0]),
        ("hits_0", [200, 400], [600, 800]),
        ("hits_1", [100, 200], [300, 400]),
        ("requests_1", [4, 4], [4, 4]),
        ("computed", [1700, 1400], [1100, 800]),
        ("alone", [1.5, 1.5], [1.5, 1.5]),
    ],
)
def test_each_round_gives_a_figure(key: str, round_robin: list[float], picker: list[float]) -> None:
    assert found(RUNS)[key].rounds == {
        "round_robin": pytest.approx(round_robin),
        "picker": pytest.approx(picker),
    }


def test_a_round_without_an_answer_has_errors_and_no_times() -> None:
    figures = found([run(0, "round_robin", [], 0, errors=3), run(0, "picker", [1.0], 0)])
    assert figures["errors"].rounds == {"round_robin": [3], "picker": [0]}
    assert figures["ttft_p90_ms"].rounds == {"round_robin": [], "picker": [1000.0]}


def test_the_table_has_both_sides_and_how_they_compare() -> None:
    shown = StringIO()
    Console(file=shown, width=120).print(sheet.table(sheet.figures(RUNS), "title"))
    (line,) = [line for line in shown.getvalue().splitlines() if "first token, mean" in line]
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[3:6] == ["2,500 (2,000…3,000)", "1,000 (1,000…1,000)", "0.417 (0.333…0.5)"]


def test_the_document_has_figures_and_runs(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("plugins: []")
    facts = sheet.facts(Plan(2, 7, Shape(), file))
    assert (facts["seed"], facts["configuration"]) == (7, "plugins: []")
    whole = json.loads(json.dumps(sheet.document(facts, sheet.figures(RUNS), RUNS), allow_nan=False))
    assert [(each["round"], each["side"]) for each in whole["runs"]] == [
        (1, "round_robin"),
        (1, "picker"),
        (2, "picker"),
        (2, "round_robin"),
    ]
    assert whole["runs"][1]["replicas"][0] == {"requests": 5, "queries": 1000, "hits": 600}
    ratios = {each["key"]: each["ratios"] for each in whole["figures"]}
    assert set(ratios) == set(found(RUNS))
    assert (ratios["hits"], ratios["errors"]) == ([3.0, 2.0], [])


def test_a_run_is_told_in_a_line() -> None:
    assert sheet.line(RUNS[1]) == (
        "round 1, picker: first token after 1,000 ms on average, 45 % cached, 0 errors; "
        "4,000 tokens alone: 1.5 s"
    )
