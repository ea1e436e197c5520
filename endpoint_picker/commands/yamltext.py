"""Plain values → YAML that `config.document` reads as the same values, with comments between.

The library's own writer follows YAML 1.1, to which `1e3` is a text; so texts are quoted here unless nobody
could take them for something else.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from endpoint_picker.config.document import scalar

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./=-]*|[0-9]+[a-z]+")
_INVISIBLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is and YAML does not allow, or reads as a line break."""


def lines(value: Any, indent: str = "") -> list[str]:
    """The value, one line for each key or item of what is in it."""
    if isinstance(value, Mapping) and value:
        return [line for key, each in value.items() for line in _pair(key, each, indent)]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for each in value for line in item(each, indent)]
    return [indent + inline(value)]


def item(value: Any, indent: str = "", comment: str = "") -> list[str]:
    """The value as one item of a list; the comment goes to its first line."""
    found = lines(value, indent + "  ")
    note = f"  # {comment}" if comment else ""
    return [f"{indent}- {found[0][len(indent) + 2 :]}{note}", *found[1:]]


def inline(value: Any) -> str:
    """The value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inline(key)}: {inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _pair(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence) or not value:
        return [f"{indent}{_text(key)}: {inline(value)}"]
    deeper = indent + "  " if isinstance(value, Mapping) else indent
    return [f"{indent}{_text(key)}:", *lines(value, deeper)]


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and isinstance(scalar(text), str):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
