"""Requests that only want what is cached: `Prefer: if-available`.

Whoever sends them has the prompt computed elsewhere when nobody who decodes holds any of it.
"""

from typing import Final

from endpoint_picker.core import wire
from endpoint_picker.core.attributes import Key, PrefixMatch
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.request import Request

IF_AVAILABLE: Final = "if-available"
MESSAGE: Final = "no decode worker has the requested KV cache"
"""What such a request is told, with 412."""


def unavailable(request: Request, decision: Decision, key: Key[PrefixMatch]) -> bool:
    """Whether a request wants what is cached only, and the first choice holds no block of its prompt.

    `key` is the fact that tells; where nobody wrote it, nobody is known to hold any.
    """
    if not wanted(request.headers.get(wire.PREFER, "")):
        return False
    match, row = request.attributes.read(key), decision.row
    return match is None or row >= len(match.blocks) or int(match.blocks[row]) <= 0


def wanted(prefer: str) -> bool:
    """Whether the value of a Prefer header (RFC 7240) lists the preference `if-available`, by that very name.

    Preferences are set apart by commas, and what follows a semicolon are parameters of one.
    """
    if not prefer:
        return False
    return any(part.partition(";")[0].strip().lower() == IF_AVAILABLE for part in prefer.split(","))
