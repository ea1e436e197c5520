"""Finds a few families on a page of Prometheus text, in one pass over its bytes.

A real page is 60 KB, of which a pick needs five lines; to parse the rest would cost a hundred times more.
The page comes from outside, so the work that one page can cause is bounded, whatever it contains.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MOST_SERIES: Final = 1000
"""Series read from one page; real ones have a handful per data-parallel rank."""
MOST_BYTES: Final = 1 << 17
"""Bytes of all those series together: what comes after is not read. Labels cost 0.1 µs a byte to read."""
LONGEST_REMEMBERED: Final = 1 << 12
"""Bytes of labels whose parsed form is kept: a replica sends the same ones with every page."""
LARGEST_REMEMBERED: Final = 1 << 20
"""Bytes of a page that is kept until the next: several endpoints may be on it, and read it in turn."""

_SERIES: Final = re.compile(
    rb"""[ \t]*+ (?: \{ (?P<labels> [^"}]*+ (?: "[^"\\]*+(?:\\.[^"\\]*+)*+" [^"}]*+ )*+ ) \} )?
    [ \t]*+ (?P<value>[^ \t\r#]++) (?: [ \t]++ (?P<time>[-+]?[0-9]++[-+.0-9eE]*+) )?""",
    re.VERBOSE | re.DOTALL,
)
"""What follows the name. The quantifiers never give back, so a hostile line costs no more than its length."""
_LABEL: Final = re.compile(
    rb'([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]++|\\.)*+)"[ \t]*+,?', re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Series:
    """One sample of a family."""

    raw_labels: bytes
    """What stands between the braces."""
    value: float
    timestamp: float
    """As the page gives it; -inf where it gives none."""

    @property
    def labels(self) -> dict[str, str]:
        """Names and values, escapes resolved; parsed only here, for most series never need it."""
        return dict(self._labels())

    def label(self, name: str) -> str | None:
        """Value of one of them."""
        return self._labels().get(name)

    def _labels(self) -> Mapping[str, str]:
        raw = self.raw_labels
        return _remembered(raw) if len(raw) <= LONGEST_REMEMBERED else _parsed(raw)


class Families:
    """A set of family names that is looked for on many pages."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(set(names))
        self._pattern = re.compile(_line_start(self._names)) if self._names else None
        self._last: tuple[bytes, Mapping[str, Sequence[Series]]] = b"", {}
        """The last page, if it is not too large, and what was found there."""

    def __len__(self) -> int:
        return len(self._names)

    def read(self, page: bytes) -> Mapping[str, Sequence[Series]]:
        """The series of each family that the page has, in the page's order; unreadable ones are left out."""
        if self._pattern is None:
            return {}
        last, found = self._last
        if page is not last:
            found = self._search(self._pattern, page)
            self._last = (page, found) if len(page) <= LARGEST_REMEMBERED else (b"", {})
        return found

    @staticmethod
    def _search(pattern: re.Pattern[bytes], page: bytes) -> Mapping[str, Sequence[Series]]:
        found: dict[str, list[Series]] = {}
        lines = b"\n" + page
        left = MOST_BYTES
        for match in itertools.islice(pattern.finditer(lines), MOST_SERIES):
            start, end = match.end(), lines.find(b"\n", match.end())
            end = len(lines) if end < 0 else end
            left -= end - start
            if left < 0:
                break
            if (series := _series(lines, start, end)) is not None:
                found.setdefault(match[1].decode("ascii"), []).append(series)
        return found


def _line_start(names: Sequence[str]) -> bytes:
    """A pattern for a line of any of these families.

    Their common prefix stands in front of the alternatives: the regex engine skips to a literal prefix
    about eight times as fast as it tries alternatives line by line.
    """
    prefix = names[0]
    while not all(name.startswith(prefix) for name in names):
        prefix = prefix[:-1]
    tails = "|".join(re.escape(name[len(prefix) :]) for name in names)
    return rf"\n({re.escape(prefix)}(?:{tails}))(?=[ \t{{])".encode("ascii")


def _series(lines: bytes, start: int, end: int) -> Series | None:
    match = _SERIES.match(lines, start, end)
    if match is None:
        return None
    try:
        timestamp = float(match["time"]) if match["time"] else float("-inf")
        return Series(match["labels"] or b"", float(match["value"]), timestamp)
    except ValueError:
        return None


def _parsed(raw: bytes) -> Mapping[str, str]:
    return {
        name.decode("ascii"): _unescaped(value.decode("utf-8", "replace"))
        for name, value in _LABEL.findall(raw)
    }


_remembered: Final = functools.lru_cache(maxsize=256)(_parsed)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
