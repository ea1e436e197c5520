"""Figures as rows and columns."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.routing.glance import Line, Verdict
from bench.routing.intervals import Interval
from bench.routing.pages.html import Markup, element, table
from bench.routing.settings import OURS, OURS_DIVIDED, REFERENCES, REFERENCES_DIVIDED
from bench.routing.sheet import FIGURES, LoadSheet, Row, SceneSheet

_RATIOS: Final = ("ttft_p50", "ttft_p90", "ttft_p99", "itl_p50", "itl_p99", "goodput", "attained", "hit_rate")


def at(load: LoadSheet) -> Markup:
    """All policies at one load; below, ours against the reference."""
    head = ["policy", *(f"{each.title} {each.unit}".strip() for each in FIGURES.values())]
    rows: list[tuple[str, Iterable[str]]] = [
        (_kind(policy), (policy, *(_marked(load, row, key) for key in FIGURES)))
        for policy, row in load.policies.items()
    ]
    if load.difference:
        first = f"ours - {load.reference}"
        rows.append(("versus", (first, *(_judged(load.difference[key], key) for key in FIGURES))))
        ratios = (cell(load.ratio[key]) if key in _RATIOS else "" for key in FIGURES)
        rows.append(("versus", (f"ours ÷ {load.reference}", *ratios)))
    return element("div", table(head, rows), class_="wide")


def capacities(scenes: Sequence[SceneSheet]) -> Markup:
    """Scenes down, policies across."""
    policies = list(dict.fromkeys(policy for scene in scenes for policy in scene.capacity))
    head = ["scene", *policies, "ours ÷ reference"]
    rows = (("", (scene.name, *_capacity(scene, policies))) for scene in scenes)
    return element("div", table(head, rows), class_="wide")


def glance(lines: Sequence[Line]) -> Markup:
    """One line a scene."""
    head = [
        "scene", "load", "reference's best", "its goodput %", "ours", "ours ÷ its", "its TTFT p90 s", "ours",
        "ours ÷ its", "capacity, ours ÷ its",
    ]  # fmt: skip
    return element("div", table(head, (("", _glanced(line)) for line in lines)), class_="wide")


def verdicts(found: Sequence[Verdict]) -> Markup:
    rows = (
        (
            "",
            (
                each.scene,
                each.load,
                f"{FIGURES[each.figure].title} {FIGURES[each.figure].unit}",
                each.reference,
                cell(each.difference),
            ),
        )
        for each in found
    )
    return element("div", table(["scene", "load", "figure", "against", "ours - its"], rows), class_="wide")


def cell(value: Interval) -> Markup:
    """A mean, and how far it may be off."""
    if value.mean is None:
        return Markup("-")
    half = "" if value.half is None else element("small", f"±{amount(value.half)}")
    return Markup(f"{amount(value.mean)}{half}")


def amount(value: float) -> str:
    """A number with three figures that mean something."""
    if abs(value) < 5e-4:
        return "0"
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def _glanced(line: Line) -> Iterator[str]:
    yield line.scene.name
    yield f"{amount(line.load.rate)}/s, {line.load.label}"
    yield str(line.load.reference)
    for key in ("goodput", "ttft_p90"):
        reference, ours = line.pair(key)
        yield cell(reference)
        yield cell(ours)
        yield _coloured(cell(line.load.ratio[key]), line.load.difference[key].sign * FIGURES[key].better)
    ratio = line.scene.capacity_ratio
    yield "" if ratio is None else _ratio(ratio)


def _capacity(scene: SceneSheet, policies: Sequence[str]) -> Iterator[str]:
    for policy in policies:
        told = cell(scene.capacity[policy]) if policy in scene.capacity else ""
        yield Markup(f"&gt; {told}") if policy in scene.unbounded else told
    yield "" if scene.capacity_ratio is None else _ratio(scene.capacity_ratio)


def _ratio(value: Interval) -> Markup:
    beyond = 0
    if value.mean is not None and value.half is not None and abs(value.mean - 1.0) > value.half:
        beyond = 1 if value.mean > 1.0 else -1
    return _coloured(cell(value), beyond)


def _marked(load: LoadSheet, row: Row, key: str) -> Markup:
    """Bold where no policy's mean is better."""
    better, told = FIGURES[key].better, cell(row[key])
    means = [each[key].mean for each in load.policies.values()]
    best = max((better * mean for mean in means if mean is not None), default=0.0)
    mean = row[key].mean
    shown = better and mean is not None and better * mean == best and len(set(means)) > 1
    return element("b", told) if shown else told


def _judged(value: Interval, key: str) -> Markup:
    return _coloured(cell(value), value.sign * FIGURES[key].better)


def _coloured(text: Markup, sign: int) -> Markup:
    return element("span", text, class_="good" if sign > 0 else "bad") if sign else text


def _kind(policy: str) -> str:
    if policy in (OURS, OURS_DIVIDED):
        return "ours"
    return "reference" if policy in REFERENCES + REFERENCES_DIVIDED else ""
