"""The chapters of the report."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import results
from bench.routing import glance, plots
from bench.routing.pages import tables, words
from bench.routing.pages.html import Markup, element, items, join, paragraphs, table
from bench.routing.scenes import Part
from bench.routing.sheet import SceneSheet

_STYLE: Final = Path(__file__).with_name("report.css")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where figures come from."""

    command: str
    machine: Mapping[str, Any]
    when: str
    """UTC, ISO 8601."""
    seconds: float
    """That it took."""
    commit: str
    changed: bool
    """Whether the code is not quite that of the commit."""
    sources: str
    policies: Sequence[str]
    seeds: int
    requests: int
    replicas: int
    ttft: float
    tpot_ms: float
    remarks: Sequence[str]


def page(origin: Origin, sheets: Sequence[SceneSheet], pictures: Mapping[str, Path]) -> str:
    """The whole file."""
    chapters = (
        ("At a glance", _glance(sheets, pictures)),
        ("What was run", _origin(origin)),
        ("How to read it", _reading()),
        ("What it does not say", items(words.NOT_SAID)),
        ("Capacities", tables.capacities([scene for scene in sheets if scene.capacity])),
        *((part.value, _part(part, sheets, pictures)) for part in Part if _of(part, sheets)),
    )
    contents = element("nav", *(element("a", name, href=f"#{_anchor(name)}") for name, _ in chapters))
    body = (join((element("h2", name, id=_anchor(name)), text)) for name, text in chapters)
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", "Routing policies on the same requests"),
        Markup(f"<style>{_STYLE.read_text(encoding='utf-8')}</style>"),
    )
    title = element("h1", "Routing policies on the same requests")
    told = element("p", f"{origin.when}; {origin.command}", class_="faint")
    return f'<!doctype html>\n<html lang="en">{head}{element("body", title, told, contents, *body)}</html>\n'


def _glance(sheets: Sequence[SceneSheet], pictures: Mapping[str, Path]) -> Markup:
    lines = glance.lines(sheets)
    if not lines:
        return element("p", "Our policy, or any to hold it against, was not among those that were run.")
    found = glance.verdicts(sheets)
    behind = [each for each in found if not each.ahead]
    count = (
        f"Over all scenes and loads, goodput, attained share and TTFT p90 of ours were held against the "
        f"reference's better policy of that load {len(found) + glance.open_questions(sheets)} times. Ours "
        f"was ahead {len(found) - len(behind)} times, behind {len(behind)} times; otherwise the 95 % "
        "interval of the difference contains zero."
    )
    said = (
        join((element("h3", "Where ours is behind"), tables.verdicts(behind)))
        if behind
        else element("p", "Nowhere is ours behind beyond the interval.")
    )
    first = (
        "Each scene at one load: where the goodput of the reference's better policy is 65 % if that was "
        "looked for, else at the highest. Ratios are means of the seeds' ratios; green is better, red worse."
    )
    pictured = join(_picture(name, pictures) for name in (plots.CAPACITIES, plots.DISTURBED))
    return join((element("p", first), tables.glance(lines), element("p", count), said, pictured))


def _origin(origin: Origin) -> Markup:
    code = origin.commit or "unknown"
    code += " with changes that are not committed" if origin.changed else ""
    rows = (
        ("command", element("code", origin.command)),
        ("seeds", f"1 to {origin.seeds}, for every policy the same"),
        ("fleet", f"{origin.replicas} simulated replicas; other fleets as their scenes say"),
        ("requests", f"{origin.requests} a run; in chat and agentic runs a multiple of it, see the scenes"),
        ("objective", f"TTFT below {origin.ttft:g} s and mean time per token below {origin.tpot_ms:g} ms"),
        ("machine", results.told(origin.machine)),
        ("code", f"commit {code}; sources {origin.sources}; version {origin.machine['endpoint_picker']}"),
        ("finished", f"{origin.when}, after {origin.seconds:.0f} s"),
    )
    policies = (
        (name, words.POLICIES.get(name, "A configuration of the user's.")) for name in origin.policies
    )
    return join(
        (
            table(("", ""), (("", row) for row in rows)),
            items(origin.remarks) if origin.remarks else "",
            element("h3", "Policies"),
            _definitions(policies),
        )
    )


def _reading() -> Markup:
    intro = paragraphs(
        (
            "A fleet of simulated replicas gets the same requests again and again, each time with another "
            "policy in front of it. Time is virtual: figures do not depend on the machine. Our policy and "
            "those of the reference run as the product runs them, short of sockets.",
        )
    )
    return join((intro, _definitions(words.READ.items())))


def _part(part: Part, sheets: Sequence[SceneSheet], pictures: Mapping[str, Path]) -> Markup:
    return join(_scene(scene, pictures) for scene in _of(part, sheets))


def _scene(scene: SceneSheet, pictures: Mapping[str, Path]) -> Markup:
    about = (
        f"{words.WORKLOADS.get(scene.workload, '')} {scene.requests} requests a run on {scene.replicas} "
        f"replicas ({scene.fleet}), {scene.pickers} {'picker' if scene.pickers == 1 else 'pickers'}, gauges "
        f"read every {scene.scrape_interval:g} s, objective TTFT {scene.objective.ttft:g} s and TPOT "
        f"{scene.objective.tpot * 1e3:g} ms."
    )
    if scene.wrong_blocks:
        about += f" The index of prefixes errs about {scene.wrong_blocks:.0%} of its blocks."
    if scene.event_delay:
        about += (
            f" Who is fed by KV events gets them {scene.event_delay:g} s late; the others are as they were."
        )
    if scene.divided:
        about += (
            " Half of the replicas compute prompts for the others, unless a policy uses all of them for "
            "whole requests."
        )
    if scene.base:
        about += f" The loads are those of {scene.base}."
    loads = join(
        join((element("h4", f"{load.label}: {tables.amount(load.rate)} requests a second"), tables.at(load)))
        for load in scene.loads
    )
    return join(
        (
            element("h3", scene.name),
            element("p", about, class_="faint"),
            items(scene.remarks) if scene.remarks else "",
            _picture(plots.caption(scene), pictures),
            loads,
        )
    )


def _picture(caption: str, pictures: Mapping[str, Path]) -> Markup:
    if caption not in pictures:
        return Markup()
    data = base64.b64encode(pictures[caption].read_bytes()).decode()
    image = Markup(f'<img src="data:image/png;base64,{data}" alt="{caption}">')
    return element("figure", image, element("figcaption", caption))


def _definitions(pairs: Iterable[tuple[str, str]]) -> Markup:
    return element("dl", *(join((element("dt", name), element("dd", text))) for name, text in pairs))


def _of(part: Part, sheets: Sequence[SceneSheet]) -> list[SceneSheet]:
    return [scene for scene in sheets if scene.part == part]


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
