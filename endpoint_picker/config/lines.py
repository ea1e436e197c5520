"""On which line of a text each of its values stands, so that a message about a value can say so.

A tree beside the values instead of a table of paths: paths of deep or long keys would outgrow the text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Lines:
    """The line of a value, and those of what is in it."""

    line: int = 0
    """Counted from 1; 0: not known."""
    inner: dict[str, "Lines"] = field(default_factory=dict)
    """By key, and by `[position]` in a list."""

    def at(self, path: str) -> "Lines":
        """The innermost value on a path such as `plugins[2].parameters.port` that is in the text."""
        found, rest = self, path
        while key := _longest(key for key in found.inner if _leads(key, rest)):
            found, rest = found.inner[key], rest[len(key) :].removeprefix(".")
        return found


def placed(source: str, line: int) -> str:
    """`file:line`, as editors and compilers write it; the file alone where the line is not known."""
    return f"{source}:{line}" if line else source


def _leads(key: str, path: str) -> bool:
    return bool(key) and path.startswith(key) and path[len(key) : len(key) + 1] in ("", ".", "[")


def _longest(keys: Iterable[str]) -> str:
    """Keys may hold dots, so a shorter one may be the beginning of the one that is meant."""
    return max(keys, key=len, default="")
