"""Find the parser that reads the body of a request, by the end of its path."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.plugin import Parser

log = logging.getLogger(__name__)

REMEMBERED: Final = 256
"""Ends of paths whose parser is remembered; a fleet serves a handful."""


def trimmed(path: str) -> str:
    """The path without its query, and without spaces and slashes at its end."""
    return path.partition("?")[0].strip().rstrip("/")


class Registry:
    """The configured parsers, in order.

    The longest suffix that matches wins, of equal ones the first. A parser without suffixes takes all
    other paths and ends the list; of parsers of one type only the first counts.
    """

    def __init__(self, parsers: Sequence[Parser]) -> None:
        self._claims: dict[str, Parser] = {}
        self._fallback: Parser | None = None
        self._register(parsers)
        self._longest = max([1, *map(len, self._claims)])
        self._find = lru_cache(REMEMBERED)(self._search)

    def resolve(self, path: str) -> Parser:
        """The parser for a path. Raises BadRequest where there is none."""
        path = trimmed(path)
        # Only the end decides, so only the end is remembered: a path may be long.
        parser = self._find(path[-self._longest :])
        if parser is None:
            raise BadRequest(f"no parser registered matching path suffix for: {path}")
        return parser

    def _register(self, parsers: Sequence[Parser]) -> None:
        types: set[str] = set()
        for position, parser in enumerate(parsers):
            kind = _type(parser)
            if kind in types:
                log.warning("parser %s is skipped: one of its type is configured before it", kind)
                continue
            types.add(kind)
            if not parser.suffixes:
                self._fallback = parser
                self._warn_of_unreachable(parsers[position + 1 :], kind)
                return
            for suffix in parser.suffixes:
                self._claims.setdefault(suffix.strip("/"), parser)

    def _warn_of_unreachable(self, parsers: Sequence[Parser], fallback: str) -> None:
        for parser in parsers:
            log.warning("parser %s is skipped: %s before it takes every path", _type(parser), fallback)

    def _search(self, end: str) -> Parser | None:
        matching = [suffix for suffix in self._claims if end.endswith(suffix)]
        if not matching:
            return self._fallback
        return self._claims[max(matching, key=len)]


def _type(parser: Parser) -> str:
    return str(getattr(parser, "type", type(parser).__name__))
