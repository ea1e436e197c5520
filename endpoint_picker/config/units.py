"""Durations and sizes as people write them in Kubernetes: `1m30s`, `200ms`, `10Gi`, `1k`."""

import math
import re
from decimal import Decimal
from typing import Any, Final

LONGEST_TEXT: Final = 64
"""Characters; a longer text is never a number that somebody meant."""

_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION: Final = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_QUANTITY: Final = re.compile(
    rf"(?P<number>{_NUMBER.pattern})(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{{1,2}})?"
)
_BINARY: Final = {suffix + "i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}
_DECIMAL: Final = {suffix: Decimal(10) ** (3 * power) for power, suffix in enumerate("num", -3)} | {
    suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)
}
_FACTORS: Final = _BINARY | _DECIMAL


class Duration(float):
    """Seconds, written as text: `200ms`, `1m30s`."""

    __slots__ = ()


class GoDuration(Duration):
    """Seconds, written as text, or as a whole number of nanoseconds, which files of the field hold here."""

    __slots__ = ()


class Quantity(int):
    """A whole number, written as a number or with a suffix: `10Gi`, `1k`."""

    __slots__ = ()


_EXAMPLES: Final[dict[type, str]] = {
    Duration: "a text such as 60s",
    GoDuration: "a text such as 60s, or nanoseconds",
    Quantity: "a number or a text such as 10Gi",
}
"""By type: what a message suggests."""


def duration(text: str) -> float:
    """Seconds of `200ms`, `1m30s`, `-1.5h`; a number without a unit is seconds. Raises ValueError."""
    bare = text.strip()
    if len(bare) <= LONGEST_TEXT:
        if _NUMBER.fullmatch(bare):
            return float(bare)
        if _DURATION.fullmatch(bare):
            seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(bare))
            return -seconds if bare.startswith("-") else seconds
    raise ValueError(f"{_short(text)} is not a duration; write it like 200ms, 60s or 1m30s")


def duration_text(seconds: float) -> str:
    """A text that `duration` reads as exactly these seconds, down to a nanosecond."""
    for unit in ("ms", "us") if 1e-6 <= abs(seconds) < 1 else ():
        text = f"{_decimal(round(seconds / _SECONDS[unit], 6))}{unit}"
        if duration(text) == seconds:
            return text
    return f"{_decimal(seconds)}s"


def _decimal(number: float) -> str:
    """As short as is exact, without an exponent."""
    text = f"{Decimal(repr(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(text: str) -> int:
    """The number that `10Gi`, `1k`, `1e3` or `1500m` means, fractions rounded up. Raises ValueError."""
    found = _QUANTITY.fullmatch(text.strip()) if len(text) <= LONGEST_TEXT else None
    if found is None:
        raise ValueError(f"{_short(text)} is not a quantity; write it like 1000, 1k or 10Gi")
    suffix = found["suffix"] or ""
    if suffix and suffix not in _FACTORS:
        return math.ceil(Decimal(found["number"] + suffix))
    return math.ceil(Decimal(found["number"]) * _FACTORS.get(suffix, Decimal(1)))


def decode(kind: type, value: Any) -> Any:
    """Decode hook of msgspec for the types above. Raises ValueError with a text for people."""
    if issubclass(kind, Duration) and isinstance(value, str):
        return kind(duration(value))
    if kind is GoDuration and isinstance(value, int) and not isinstance(value, bool):
        return GoDuration(value / 1e9)
    if kind is Quantity and isinstance(value, str):
        return Quantity(quantity(value))
    if kind is Quantity and isinstance(value, int | float) and not isinstance(value, bool):
        return Quantity(quantity(str(value)))
    raise ValueError(f"{_short(value)} is not right here; write {_EXAMPLES.get(kind, 'something else')}")


def encode(value: Any) -> Any:
    """The same back: plain values that `decode` reads as equal ones."""
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, Quantity):
        return int(value)
    raise TypeError(f"{type(value).__name__} cannot be written in a configuration")


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else f"{value} ({type(value).__name__})"
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
