"""How important a request is: its client names an objective, and the objective has a priority."""

from collections.abc import Mapping
from typing import Final

DEFAULT_PRIORITY: Final = 0
"""Of a request that names no objective, or one that nobody knows."""


class Objectives:
    """The priorities of the pool's objectives, by name."""

    __slots__ = ("_priorities",)

    def __init__(self, priorities: Mapping[str, int] | None = None) -> None:
        self._priorities = dict(priorities or {})

    def __len__(self) -> int:
        return len(self._priorities)

    def priority(self, name: str) -> int:
        """Higher is more important; below zero a request may be shed."""
        return self._priorities.get(name, DEFAULT_PRIORITY)

    def replace(self, priorities: Mapping[str, int]) -> None:
        """Make these the objectives of the pool."""
        self._priorities = dict(priorities)
