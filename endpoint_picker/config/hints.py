"""Guesses what a person meant: one place, so that every message about a wrong name sounds the same."""

import difflib
from collections.abc import Iterable
from typing import Final

LONGEST_LIST: Final = 12
"""Names that a message lists in full; of more, only the nearest is named."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A clause such as `did you mean "name"?`, or the list of what is valid, or ""."""
    names = sorted(set(valid))
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    if close:
        return f'did you mean "{by_folded[close[0]]}"?'
    if 0 < len(names) <= LONGEST_LIST:
        return f"valid: {', '.join(names)}"
    return ""


def with_hint(message: str, word: str, valid: Iterable[str]) -> str:
    """The message, followed by the clause of `nearest` where there is one."""
    hint = nearest(word, valid)
    return f"{message}; {hint}" if hint else message
