"""What changes between two configurations, by what they amount to and not by how they are written."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from endpoint_picker.commands import yamltext

Document = Mapping[str, Any]

OTHERS: Final = {
    "featureGates": "feature gates",
    "requestHandler": "parsers",
    "dataLayer": "data layer",
    "flowControl": "saturation detector",
}
"""Parts of a configuration that have no names in them, and what a person calls them."""


def unified(old: tuple[Document, str], new: tuple[Document, str]) -> str:
    """The changed lines with a few around them; each side comes with its name."""
    before, after = (yamltext.lines(_by_name(document)) for document, _ in (old, new))
    changed = difflib.unified_diff(before, after, fromfile=old[1], tofile=new[1], lineterm="")
    return "".join(f"{line}\n" for line in changed)


def _by_name(document: Document) -> Document:
    """Where a plugin stands in the list says nothing: whether it was declared or added, above all."""
    return {**document, "plugins": sorted(document["plugins"], key=lambda plugin: str(plugin["name"]))}


def summary(old: Document, new: Document) -> str:
    """The same in one line."""
    return "; ".join(_changes(old, new)) or "no change"


def _changes(old: Document, new: Document) -> Iterator[str]:
    for key, title in {"plugins": "plugins", "schedulingProfiles": "profiles"}.items():
        before, after = ({each["name"]: each for each in side[key]} for side in (old, new))
        yield from _told(f"{title} added", [name for name in after if name not in before])
        yield from _told(f"{title} removed", [name for name in before if name not in after])
        both = [name for name in after if name in before]
        yield from _told(f"{title} changed", [name for name in both if before[name] != after[name]])
    yield from _told("changed", [title for key, title in OTHERS.items() if old[key] != new[key]])


def _told(what: str, names: list[str]) -> Iterator[str]:
    if names:
        yield f"{what}: {', '.join(names)}"
