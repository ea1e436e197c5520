"""A small suite, run for real: the report, the file for machines and the pictures say the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.routing import plots
from bench.routing.__main__ import routing
from bench.routing.intervals import interval
from bench.routing.pages.html import element
from bench.routing.pages.tables import amount, cell
from bench.routing.settings import parse
from bench.routing.sheet import FIGURES
from tests.fakes.hands import Inline

POLICIES = "round-robin,weighted,affinity,default"


async def run(folder: Path, *flags: str) -> tuple[dict[str, Any], str]:
    small = ["--quick", "--requests", "30", "--replicas", "2", "--jobs", "1"]
    settings = parse([*small, "--policies", POLICIES, "--into", str(folder), *flags])
    await routing(settings, Console(quiet=True), Inline())
    document = json.loads((folder / "routing.json").read_text())
    return document, (folder / "routing.html").read_text()


async def test_tables_show_what_the_file_has(tmp_path: Path) -> None:
    document, html = await run(tmp_path, "--workloads", "lora", "--seeds", "2")
    origin = document["origin"]
    for fact in (origin["machine"]["cpu"], origin["command"], origin["sources"], "1 to 2"):
        assert fact in html
    assert "--workloads lora --seeds 2" in origin["command"]
    scenes = document["scenes"]
    assert [scene["name"] for scene in scenes][:2] == ["lora", "lora, gauges 1 s old"]
    cells = 0
    for scene in scenes:
        for load in scene["loads"]:
            for row in load["policies"].values():
                assert set(row) == set(FIGURES)
                for figure in row.values():
                    assert len(figure["values"]) == 2
                    assert cell(interval(figure["values"])) in html
                    cells += 1
    assert cells >= len(FIGURES) * 4
    assert document["scenes"][0]["capacity"]["weighted"]["mean"] > 0.0


async def test_the_report_needs_nothing_else(tmp_path: Path) -> None:
    _, html = await run(tmp_path, "--workloads", "lora", "--seeds", "1", "--policies", "weighted,default")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    pictures = sorted(each.name for each in (tmp_path / "routing").iterdir())
    assert pictures == ["capacities.png", "disturbed.png", "lora.png"]
    assert html.count('src="data:image/png;base64,') == len(pictures)
    anchors = set(re.findall(r'href="#([^"]+)"', html))
    assert anchors == set(re.findall(r'<h2 id="([^"]+)"', html))
    for told in ("How to read it", "What it does not say", plots.CAPACITIES):
        assert told in html


async def test_the_same_seeds_give_the_same_figures(tmp_path: Path) -> None:
    flags = ["--workloads", "lora", "--seeds", "1", "--policies", "weighted,default"]
    one, _ = await run(tmp_path / "one", *flags)
    other, _ = await run(tmp_path / "other", *flags)
    assert one["scenes"] == other["scenes"]


async def test_a_missing_trace_is_said_in_the_report(tmp_path: Path) -> None:
    flags = ["--workloads", "azure,lora", "--trace", str(tmp_path), "--seeds", "1"]
    document, html = await run(tmp_path, *flags, "--policies", "weighted")
    assert "azure_2023_conv.csv is not in" in html
    assert document["origin"]["remarks"]
    assert "was not among those" in html


def test_elements_escape_what_is_no_html() -> None:
    assert element("p", "a < b", element("i", "c"), class_='"') == '<p class="&quot;">a &lt; b<i>c</i></p>'


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.1234, "0.12"), (12.34, "12.3"), (99.97, "100"), (-3.456, "-3.46")]
)
def test_amounts_are_short(value: float, text: str) -> None:
    assert amount(value) == text
