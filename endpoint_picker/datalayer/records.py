"""Reads an endpoints file, strictly: its endpoints and the objectives of their requests.

A mistyped port or a label under a wrong key would send traffic to the wrong place without a word, so
whatever is not understood is an error that says where it stands and what would be right there.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from endpoint_picker.config.hints import with_hint
from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import ConfigError

FILE_KEYS: Final = ("endpoints", "objectives")
ENTRY_KEYS: Final = ("name", "namespace", "address", "port", "labels")
OBJECTIVE_KEYS: Final = ("name", "priority")
HIGHEST_PORT: Final = 65535
HIGHEST_PRIORITY: Final = (1 << 31) - 1

_NAME: Final = re.compile(r"[^\s/]{1,253}")
"""No slash: `namespace/name` must stay unambiguous."""
_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-zA-Z0-9-]{1,63}(?<!-))*")
"""A name as RFC 1123 has them."""


class Listing(NamedTuple):
    """What an endpoints file says."""

    endpoints: list[Endpoint]
    objectives: dict[str, int]
    """Name → priority."""


Place = Callable[[Any, str], str]
"""How an address is read: its value and where it stands → the address. Raises ConfigError."""


def read(document: Any, source: str, place: Place | None = None) -> Listing:
    """A document `{endpoints: [{name, namespace, address, port, labels}], objectives: [{name, priority}]}`.

    `source` names the document in messages; `place` reads addresses (None: IP addresses only). Raises
    ConfigError.
    """
    fields = _fields(document, source, FILE_KEYS)
    objectives = fields.get("objectives")
    return Listing(
        _endpoints(fields.get("endpoints"), source, place or address),
        {} if objectives is None else _objectives(objectives, f"{source}: objectives"),
    )


def address(value: Any, where: str) -> str:
    """An IP address in its shortest form. Raises ConfigError."""
    if value is None:
        raise ConfigError(f"{where}: is missing; write the IPv4 or IPv6 address of the replica")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {_shown(value)} is not text; write an IP address such as 10.0.0.7")
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
            f"{where}: {_shown(value)} is neither a host name nor an IP address; write one such as "
            "gateway.example or 10.0.0.7"
        )
    return value.lower()


def port(value: Any, where: str) -> int:
    """A port, written as a number or as text. Raises ConfigError."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= HIGHEST_PORT:
        return int(text)
    what = "is missing; write" if value is None else f"{_shown(value)} is not a port; write"
    raise ConfigError(f"{where}: {what} a number from 1 to {HIGHEST_PORT}")


def _endpoints(entries: Any, source: str, place: Place) -> list[Endpoint]:
    if not isinstance(entries, list):
        raise ConfigError(
            f"{source}: endpoints: {_shown(entries)} is not a list; write endpoints: [] if none"
        )
    found: dict[str, Endpoint] = {}
    for number, entry in enumerate(entries):
        endpoint = _endpoint(entry, f"{source}: endpoints[{number}]", place)
        if endpoint.id in found:
            raise ConfigError(
                f"{source}: endpoints[{number}].name: {endpoint.id} is there twice; names must be unique"
            )
        found[endpoint.id] = endpoint
    return list(found.values())


def _objectives(entries: Any, where: str) -> dict[str, int]:
    if not isinstance(entries, list):
        raise ConfigError(f"{where}: {_shown(entries)} is not a list; write - {{name: batch, priority: -1}}")
    found: dict[str, int] = {}
    for number, entry in enumerate(entries):
        place = f"{where}[{number}]"
        fields = _fields(entry, place, OBJECTIVE_KEYS)
        name = _name(fields.get("name"), f"{place}.name")
        if name in found:
            raise ConfigError(f"{place}.name: {name} is there twice; names must be unique")
        found[name] = _priority(fields.get("priority"), f"{place}.priority")
    return found


def _priority(value: Any, where: str) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and abs(value) <= HIGHEST_PRIORITY:
        return int(value)
    what = "is missing" if value is None else f"{_shown(value)} is no priority"
    raise ConfigError(f"{where}: {what}; write a whole number such as -1, of either sign and 31 bits")


def _endpoint(entry: Any, where: str, place: Place) -> Endpoint:
    fields = _fields(entry, where, ENTRY_KEYS)
    return Endpoint(
        name=_name(fields.get("name"), f"{where}.name"),
        namespace=_name(fields.get("namespace", "default"), f"{where}.namespace"),
        address=place(fields.get("address"), f"{where}.address"),
        port=port(fields.get("port"), f"{where}.port"),
        labels=_labels(fields.get("labels"), f"{where}.labels"),
    )


def _fields(value: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {_shown(value)} is not a mapping; write the keys {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise ConfigError(with_hint(f'{where}: unknown key "{key}"', str(key), keys))
    return value


def _name(value: Any, where: str) -> str:
    if value is None:
        raise ConfigError(f"{where}: is missing; each one needs a name of its own")
    if not isinstance(value, str):
        raise ConfigError(f'{where}: {_shown(value)} is not text; put it in quotes: "{value}"')
    if not _NAME.fullmatch(value):
        raise ConfigError(
            f"{where}: {_shown(value)} is no name; write 1 to 253 characters without spaces and slashes"
        )
    return value


def _labels(value: Any, where: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {_shown(value)} is not a mapping; write pairs such as role: decode")
    for key, text in value.items():
        if not isinstance(text, str):
            raise ConfigError(f"{where}.{key}: {_shown(text)} is not text; put it in quotes")
    return dict(value)


def _why_no_address(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return f"{_shown(text)}: write an IPv6 address without brackets"
    if re.search(r"[^0-9a-fA-F.:]", text):
        return f"{_shown(text)} is a host name; only IP addresses are routed to, so write the replica's own"
    return f"{_shown(text)} is not an IP address; write one such as 10.0.0.7 or fd00::7"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
