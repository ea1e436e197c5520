"""Pictures of the figures: how policies stand the load, what they bear, what disturbs them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.routing.asking import QUANTILES
from bench.routing.intervals import Interval
from bench.routing.scenes import Part
from bench.routing.settings import OURS, OURS_DIVIDED, REFERENCES, REFERENCES_DIVIDED
from bench.routing.sheet import LoadSheet, SceneSheet

DPI: Final = 100
# Okabe and Ito's colours, which people tell apart who do not see all colours.
_COLOURS: Final = {
    "round-robin": "#999999",
    "least-request": "#000000",
    "weighted": "#0072B2",
    "weighted-no-hit-lru": "#56B4E9",
    "affinity": "#009E73",
    "dynamo": "#CC79A7",
    "sglang": "#E69F00",
    "mooncake": "#B8A800",
    OURS: "#D55E00",
    "pd-weighted": "#0072B2",
    "pd-guide": "#009E73",
    OURS_DIVIDED: "#7F3C8D",
}
_OURS: Final = (OURS, OURS_DIVIDED)
_OTHERS: Final = ("#882255", "#A5AA99", "#3969AC", "#11A579")


def draw(sheets: Sequence[SceneSheet], folder: Path) -> Mapping[str, Path]:
    """Write all pictures there; answers caption → file, in the order of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for caption, name, figure in _all(sheets):
        drawn[caption] = folder / f"{name}.png"
        figure.savefig(drawn[caption], dpi=DPI)
    return drawn


def caption(scene: SceneSheet) -> str:
    return f"{scene.name}: over the load, and times to first token at one of the loads"


CAPACITIES: Final = "Capacity of each policy, by that of the reference's better one"
DISTURBED: Final = "Goodput when disturbed"


def _all(sheets: Sequence[SceneSheet]) -> Iterator[tuple[str, str, Figure]]:
    if any(scene.capacity_reference for scene in sheets):
        yield CAPACITIES, "capacities", _capacities([each for each in sheets if each.capacity_reference])
    if any(scene.base for scene in sheets):
        yield DISTURBED, "disturbed", _disturbed(sheets)
    for scene in sheets:
        if scene.part in (Part.WORKLOADS, Part.FLEETS, Part.DIVIDED):
            yield caption(scene), _slug(scene.name), _over_loads(scene)


def _over_loads(scene: SceneSheet) -> Figure:
    figure, (good, slow, spread) = _panels(3, height=4.0)
    rates = [load.rate for load in scene.loads]
    for number, policy in enumerate(scene.loads[0].policies):
        style = _style(policy, number)
        _line(good, rates, [load.policies[policy]["goodput"] for load in scene.loads], style)
        _line(slow, rates, [load.policies[policy]["ttft_p90"] for load in scene.loads], style)
    good.set(xlabel="requests per second", ylabel="goodput, %", ylim=(0, 102))
    slow.set(xlabel="requests per second", ylabel="TTFT p90, s", yscale="log")
    load = _middle(scene.loads)
    for number, policy in enumerate(load.policies):
        if load.ttft[policy]:
            spread.plot(load.ttft[policy], [100 * each for each in QUANTILES], **_style(policy, number))  # type: ignore[arg-type]
    spread.set(xlabel=f"TTFT, s ({load.label})", ylabel="% of served requests", xscale="log")
    for axis in (slow.yaxis, spread.xaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    figure.legend(*spread.get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=9)
    return figure


def _capacities(scenes: Sequence[SceneSheet]) -> Figure:
    figure, (axes,) = _panels(1, height=0.6 + 0.55 * len(scenes) + 0.6)
    policies = list(dict.fromkeys(policy for scene in scenes for policy in scene.capacity))
    width = 0.8 / len(policies)
    for number, policy in enumerate(policies):
        places, values = [], []
        for place, scene in enumerate(scenes):
            most = scene.capacity[str(scene.capacity_reference)].mean
            mine = scene.capacity[policy].mean if policy in scene.capacity else None
            if most and mine:
                places.append(place + (number - (len(policies) - 1) / 2) * width)
                values.append(mine / most)
        axes.barh(places, values, width, color=_colour(policy, number), label=policy)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(scenes)), [scene.name for scene in scenes])
    axes.invert_yaxis()
    axes.set_xlabel("capacity by that of the reference's better policy")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _disturbed(sheets: Sequence[SceneSheet]) -> Figure:
    bases = [scene for scene in sheets if any(scene.name == each.base for each in sheets)]
    figure, panels = _panels(len(bases))
    for axes, base in zip(panels, bases, strict=True):
        scenes = [scene for scene in sheets if scene.base == base.name]
        label = scenes[0].loads[0].label
        loads = [load for scene in (base, *scenes) for load in scene.loads if load.label == label]
        policies = list(scenes[0].loads[0].policies)
        width = 0.8 / len(policies)
        for number, policy in enumerate(policies):
            places = [place + (number - (len(policies) - 1) / 2) * width for place in range(len(loads))]
            cells = [load.policies[policy]["goodput"] for load in loads]
            axes.bar(
                places,
                [each.mean or 0.0 for each in cells],
                width,
                yerr=[each.half or 0.0 for each in cells],
                color=_colour(policy, number),
                error_kw={"linewidth": 0.8},
                label=policy,
            )
        names = ["undisturbed", *(scene.name.removeprefix(f"{base.name}, ") for scene in scenes)]
        axes.set_xticks(range(len(loads)), names, fontsize=7)
        axes.set(title=f"{base.name}, {label}", ylabel="goodput, %", ylim=(0, 105))
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=9)
    return figure


def _panels(count: int, height: float = 3.6) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(max(8.0, 4.6 * count), height), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    return figure, panels


def _line(axes: Axes, rates: Sequence[float], cells: Sequence[Interval], style: Mapping[str, object]) -> None:
    known = [
        (rate, cell.mean, cell.half or 0.0) for rate, cell in zip(rates, cells, strict=True) if cell.mean
    ]
    if known:
        places, means, halves = zip(*known, strict=True)
        axes.errorbar(places, means, yerr=halves, capsize=2, elinewidth=0.7, **style)  # type: ignore[arg-type]


def _style(policy: str, number: int) -> dict[str, object]:
    """Ours is thick, the reference's are whole lines, all others are dashed."""
    return {
        "color": _colour(policy, number),
        "linewidth": 2.4 if policy in _OURS else 1.2,
        "linestyle": "-" if policy in (*_OURS, *REFERENCES, *REFERENCES_DIVIDED) else "--",
        "zorder": 3 if policy in _OURS else 2,
        "label": policy,
    }


def _colour(policy: str, number: int) -> str:
    return _COLOURS.get(policy) or _OTHERS[number % len(_OTHERS)]


def _middle(loads: Sequence[LoadSheet]) -> LoadSheet:
    """At the reference's capacity, or next above it."""
    return next((load for load in loads if load.label.startswith("1")), loads[-1])


def _slug(name: str) -> str:
    return "-".join("".join(each if each.isalnum() else " " for each in name).split())
