"""What plugins are called, by the extension points that they serve, in the order of a request's life."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

METHODS: Final[Mapping[str, str]] = {
    "parse": "parser",
    "read_headers": "header reader",
    "screen": "screener",
    "produce": "producer",
    "saturation": "detector",
    "admit": "admitter",
    "choose": "profile handler",
    "decide": "decider",
    "keep": "filter",
    "score": "scorer",
    "pick": "picker",
    "learn": "learner",
    "prefilled": "prefill watcher",
    "respond": "responder",
    "audit": "auditor",
    "report": "reporter",
}
"""The method of an extension point → its plugins."""
BESIDE: Final = frozenset({"header reader", "learner", "prefill watcher", "responder", "auditor", "reporter"})
"""What many plugins do beside what they are there for: not what such a plugin is called."""
UNASKED: Final = (
    "read_headers",
    "screen",
    "produce",
    "admit",
    "learn",
    "prefilled",
    "respond",
    "audit",
    "report",
)
"""Methods of plugins that run because they are declared; nothing refers to them."""
ENDINGS: Final[Mapping[str, str]] = {
    "-source": "data source",
    "-extractor": "extractor",
    "-discovery": "discovery",
}
"""What the data layer's plugins are called, by the end of their types."""


def kinds(plugin: type[Any]) -> Sequence[str]:
    """What a plugin is; most are one thing."""
    found = [kind for method, kind in METHODS.items() if hasattr(plugin, method)]
    found += [kind for ending, kind in ENDINGS.items() if plugin.type.endswith(ending)]
    return [kind for kind in found if kind not in BESIDE] or found or ["plugin"]
