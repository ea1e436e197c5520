"""Label selectors as people type them: `app=vllm, tier in (a, b), !canary`."""

import re
from collections.abc import Callable, Mapping
from typing import Final

Labels = Mapping[str, str]
Test = Callable[[Labels], bool]

_WORD: Final = r"[A-Za-z0-9](?:[\w./-]*[A-Za-z0-9])?"
_COMMA: Final = re.compile(r",(?![^(]*\))")
"""One that separates requirements, not values."""
_EXISTS: Final = re.compile(rf"(!?)\s*({_WORD})", re.ASCII)
_EQUALS: Final = re.compile(rf"({_WORD})\s*(==|=|!=)\s*({_WORD}|)", re.ASCII)
_AMONG: Final = re.compile(rf"({_WORD})\s+(in|notin)\s*\(([^()]*)\)", re.ASCII)


def parsed(text: str) -> Test:
    """Whether labels fulfil every requirement. Raises ValueError with a text that names the bad one."""
    tests = [_requirement(part.strip()) for part in _COMMA.split(text)]
    return lambda labels: all(test(labels) for test in tests)


def _requirement(text: str) -> Test:
    if found := _EXISTS.fullmatch(text):
        absent, key = bool(found[1]), found[2]
        return lambda labels: (key in labels) != absent
    if found := _EQUALS.fullmatch(text):
        return _among(found[1], {found[3]}, wanted=found[2] != "!=")
    if found := _AMONG.fullmatch(text):
        values = {value.strip() for value in found[3].split(",")}
        return _among(found[1], values, wanted=found[2] == "in")
    raise ValueError(f"{text!r} is no requirement; write key=value, key!=value, key in (a, b), key or !key")


def _among(key: str, values: set[str], *, wanted: bool) -> Test:
    """As Kubernetes reads it: what is not wanted is not there where the label is absent."""
    return lambda labels: (labels.get(key) in values) == wanted
