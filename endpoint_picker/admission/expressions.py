"""Arithmetic over a response's usage, as configurations write it: a part of CEL, read once, run often.

    usage.prompt_tokens   usage.completion_tokens   usage.total_tokens   usage.cached_tokens
    has(usage.…)   1   2.5   true   false   ( )   ! -   * / %   + -   < <= > >=   == !=   &&   ||   ? :

An expression is compiled into nested functions; nothing of the text is ever handed to Python. Kinds are
checked when it is read, so that what cannot work is told to the person who wrote it, with the column. What
the engine did not report counts as 0, and `has` tells it apart.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from endpoint_picker.config.hints import with_hint
from endpoint_picker.core.request import Usage

Kind = Literal["number", "truth"]
Run = Callable[[Usage], Any]

LONGEST: Final = 500
"""Characters. A sum of so many is computed as deep as it is long, well within Python's own stack."""
DEEPEST: Final = 50
"""Parentheses and signs within each other."""


def _total(usage: Usage) -> int | None:
    known = [count for count in (usage.prompt_tokens, usage.completion_tokens) if count is not None]
    return sum(known) if known else None


FIELDS: Final[Mapping[str, Callable[[Usage], int | None]]] = {
    "usage.prompt_tokens": lambda usage: usage.prompt_tokens,
    "usage.completion_tokens": lambda usage: usage.completion_tokens,
    "usage.total_tokens": _total,
    "usage.cached_tokens": lambda usage: usage.cached_tokens,
    "usage.prompt_tokens_details.cached_tokens": lambda usage: usage.cached_tokens,
    "usage.prompt_token_details.cached_tokens": lambda usage: usage.cached_tokens,
}

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+\.\d+|\d+)|(?P<name>[A-Za-z_][\w.]*)"
    r"|(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:()])|(?P<end>$))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression computes."""

    kind: Kind
    run: Run
    """Raises ArithmeticError where there is no result."""


def compiled(text: str) -> Expression:
    """Raises ValueError with a text that says what is wrong, and in which column."""
    if len(text) > LONGEST:
        raise ValueError(f"is {len(text)} characters long; write at most {LONGEST}")
    reader = _Reader(text)
    found = _choice(reader)
    if reader.next.text:
        raise reader.wrong(f'"{reader.next.text}" is not expected here')
    return found


class _Token(NamedTuple):
    text: str
    """Empty at the end."""
    is_number: bool
    is_name: bool
    column: int


class _Reader:
    """The tokens of a text, one ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.depth = 0
        self.next = self._read()

    def take(self) -> _Token:
        token, self.next = self.next, self._read()
        return token

    def taken(self, *signs: str) -> str:
        """The next token where it is one of these signs, which is then read; else ""."""
        return self.take().text if self.next.text in signs and self.next.text else ""

    def expect(self, sign: str) -> None:
        if not self.taken(sign):
            raise self.wrong(f'"{sign}" is missing')

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} levels of parentheses or signs")

    def wrong(self, what: str) -> ValueError:
        return ValueError(f"column {self.next.column}: {what}")

    def _read(self) -> _Token:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            bad = self._text[self._at :].lstrip()
            raise ValueError(f"column {len(self._text) - len(bad) + 1}: {bad[:1]!r} is not understood")
        self._at = found.end()
        kind = found.lastgroup or "end"
        return _Token(found[kind], kind == "number", kind == "name", found.start(kind) + 1)


# === from what binds least to what binds most ===


def _choice(reader: _Reader) -> Expression:
    condition = _chain(reader, 0)
    if not reader.taken("?"):
        return condition
    _check(reader, condition, "truth", "?")
    reader.deeper()
    first = _choice(reader)
    reader.expect(":")
    second = _choice(reader)
    reader.depth -= 1
    _check(reader, second, first.kind, ":")
    asked, yes, no = condition.run, first.run, second.run
    return Expression(first.kind, lambda usage: yes(usage) if asked(usage) else no(usage))


def _either(left: Run, right: Run) -> Run:
    return lambda usage: left(usage) or right(usage)


def _both(left: Run, right: Run) -> Run:
    return lambda usage: left(usage) and right(usage)


def _applied(function: Callable[[Any, Any], Any]) -> Callable[[Run, Run], Run]:
    return lambda left, right: lambda usage: function(left(usage), right(usage))


class _Operation(NamedTuple):
    operands: Kind | None
    """None: two of the same kind, whichever."""
    result: Kind
    join: Callable[[Run, Run], Run]


_LEVELS: Final[tuple[Mapping[str, _Operation], ...]] = (
    {"||": _Operation("truth", "truth", _either)},
    {"&&": _Operation("truth", "truth", _both)},
    {
        "==": _Operation(None, "truth", _applied(operator.eq)),
        "!=": _Operation(None, "truth", _applied(operator.ne)),
        "<": _Operation("number", "truth", _applied(operator.lt)),
        "<=": _Operation("number", "truth", _applied(operator.le)),
        ">": _Operation("number", "truth", _applied(operator.gt)),
        ">=": _Operation("number", "truth", _applied(operator.ge)),
    },
    {
        "+": _Operation("number", "number", _applied(operator.add)),
        "-": _Operation("number", "number", _applied(operator.sub)),
    },
    {
        "*": _Operation("number", "number", _applied(operator.mul)),
        "/": _Operation("number", "number", _applied(operator.truediv)),
        "%": _Operation("number", "number", _applied(operator.mod)),
    },
)
"""Operators of two operands, by how strongly they bind; of the same strength from left to right."""


def _chain(reader: _Reader, level: int) -> Expression:
    if level == len(_LEVELS):
        return _signed(reader)
    left = _chain(reader, level + 1)
    while sign := reader.taken(*_LEVELS[level]):
        operands, result, join = _LEVELS[level][sign]
        _check(reader, left, operands or left.kind, sign)
        right = _chain(reader, level + 1)
        _check(reader, right, operands or left.kind, sign)
        left = Expression(result, join(left.run, right.run))
    return left


def _signed(reader: _Reader) -> Expression:
    sign = reader.taken("!", "-")
    if not sign:
        return _single(reader)
    reader.deeper()
    inner = _signed(reader)
    reader.depth -= 1
    run = inner.run
    if sign == "!":
        _check(reader, inner, "truth", sign)
        return Expression("truth", lambda usage: not run(usage))
    _check(reader, inner, "number", sign)
    return Expression("number", lambda usage: -run(usage))


def _single(reader: _Reader) -> Expression:
    if reader.taken("("):
        reader.deeper()
        found = _choice(reader)
        reader.depth -= 1
        reader.expect(")")
        return found
    if reader.next.text == "has":
        reader.take()
        return _presence(reader)
    return _value(reader)


def _presence(reader: _Reader) -> Expression:
    reader.expect("(")
    read = _field(reader)
    reader.expect(")")
    return Expression("truth", lambda usage: read(usage) is not None)


def _value(reader: _Reader) -> Expression:
    text = reader.next.text
    if text in ("true", "false"):
        reader.take()
        return Expression("truth", lambda usage: text == "true")
    if reader.next.is_number:
        reader.take()
        number = float(text) if "." in text else int(text)
        return Expression("number", lambda usage: number)
    read = _field(reader)
    return Expression("number", lambda usage: read(usage) or 0)


def _field(reader: _Reader) -> Callable[[Usage], int | None]:
    name = reader.next.text
    if not reader.next.is_name:
        raise reader.wrong("a field such as usage.prompt_tokens is missing")
    if name not in FIELDS:
        raise reader.wrong(with_hint(f'"{name}" is not known', name, FIELDS))
    reader.take()
    return FIELDS[name]


def _check(reader: _Reader, found: Expression, wanted: Kind, sign: str) -> None:
    if found.kind != wanted:
        names = {"number": "a number", "truth": "true or false"}
        raise reader.wrong(f'"{sign}" wants {names[wanted]}, not {names[found.kind]}')
