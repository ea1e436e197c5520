"""Reads single values of an endpoints file; an error says where the value stands and what would be right."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from endpoint_picker.config.hints import with_hint
from endpoint_picker.core.errors import ConfigError

HIGHEST_PORT: Final = 65535

_NAME: Final = re.compile(r"[^\s/]{1,253}")
"""No slash: `namespace/name` must stay unambiguous."""
_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-zA-Z0-9-]{1,63}(?<!-))*")
"""A name as RFC 1123 has them."""

Place = Callable[[Any, str], str]
"""How an address is read: its value and where it stands → the address. Raises ConfigError."""


def address(value: Any, where: str) -> str:
    """An IP address in its shortest form. Raises ConfigError."""
    if value is None:
        raise ConfigError(f"{where}: is missing; write the IPv4 or IPv6 address of the replica")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {shown(value)} is not text; write an IP address such as 10.0.0.7")
    try:
        ip = ipaddress.ip_address(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {_why_no_address(value)}") from error
    if ip.is_unspecified or ip.is_multicast or (ip.version == 6 and ip.scope_id is not None):
        raise ConfigError(f"{where}: nothing can be sent to {value}; write the address of one replica")
    return str(ip)


def host(value: Any, where: str) -> str:
    """An IP address, or the name of a host. Raises ConfigError."""
    if not isinstance(value, str) or re.fullmatch(r"[0-9.]*|[0-9a-fA-F.:]*:[0-9a-fA-F.:]*", value):
        return address(value, where)
    if not _HOST.fullmatch(value):
        raise ConfigError(
            f"{where}: {shown(value)} is neither a host name nor an IP address; write one such as "
            "gateway.example or 10.0.0.7"
        )
    return value.lower()


def port(value: Any, where: str) -> int:
    """A port, written as a number or as text. Raises ConfigError."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= HIGHEST_PORT:
        return int(text)
    what = "is missing; write" if value is None else f"{shown(value)} is not a port; write"
    raise ConfigError(f"{where}: {what} a number from 1 to {HIGHEST_PORT}")


def whole(value: Any, where: str, least: int, most: int) -> int:
    """A whole number in these bounds. Raises ConfigError."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    what = "is missing; write a" if value is None else f"{shown(value)} is no"
    raise ConfigError(f"{where}: {what} whole number from {least} to {most}")


def choice(value: Any, where: str, valid: Sequence[str]) -> str:
    """One of these words. Raises ConfigError."""
    if value in valid:
        return str(value)
    raise ConfigError(with_hint(f"{where}: {shown(value)} is unknown", str(value), valid))


def fields(value: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """A mapping with no other keys than these. Raises ConfigError."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {shown(value)} is not a mapping; write the keys {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise ConfigError(with_hint(f'{where}: unknown key "{key}"', str(key), keys))
    return value


def name(value: Any, where: str) -> str:
    """What something may be called. Raises ConfigError."""
    if value is None:
        raise ConfigError(f"{where}: is missing; each one needs a name of its own")
    if not isinstance(value, str):
        raise ConfigError(f'{where}: {shown(value)} is not text; put it in quotes: "{value}"')
    if not _NAME.fullmatch(value):
        raise ConfigError(
            f"{where}: {shown(value)} is no name; write 1 to 253 characters without spaces and slashes"
        )
    return value


def labels(value: Any, where: str) -> Mapping[str, str]:
    """Pairs of texts; None: there are none. Raises ConfigError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {shown(value)} is not a mapping; write pairs such as role: decode")
    for key, text in value.items():
        if not isinstance(text, str):
            raise ConfigError(f"{where}.{key}: {shown(text)} is not text; put it in quotes")
    return dict(value)


def shown(value: Any) -> str:
    """The value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _why_no_address(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return f"{shown(text)}: write an IPv6 address without brackets"
    if re.search(r"[^0-9a-fA-F.:]", text):
        return f"{shown(text)} is a host name; only IP addresses are routed to, so write the replica's own"
    return f"{shown(text)} is not an IP address; write one such as 10.0.0.7 or fd00::7"
