"""Reads the records of an endpoints file, strictly.

A mistyped port or a label under a wrong key would send traffic to the wrong place without a word, so
whatever is not understood is an error that says where it stands and what would be right there.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final

from endpoint_picker.config.hints import with_hint
from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import ConfigError

FILE_KEYS: Final = ("endpoints",)
ENTRY_KEYS: Final = ("name", "namespace", "address", "port", "labels")
HIGHEST_PORT: Final = 65535

_NAME: Final = re.compile(r"[^\s/]{1,253}")
"""No slash: `namespace/name` must stay unambiguous."""


def endpoints(document: Any, source: str) -> list[Endpoint]:
    """The endpoints of a document `{endpoints: [{name, namespace, address, port, labels}]}`.

    `source` names the document in messages. Raises ConfigError.
    """
    fields = _fields(document, source, FILE_KEYS)
    entries = fields.get("endpoints")
    if not isinstance(entries, list):
        raise ConfigError(
            f"{source}: endpoints: {_shown(entries)} is not a list; write endpoints: [] if none"
        )
    found: dict[str, Endpoint] = {}
    for number, entry in enumerate(entries):
        endpoint = _endpoint(entry, f"{source}: endpoints[{number}]")
        if endpoint.id in found:
            raise ConfigError(
                f"{source}: endpoints[{number}].name: {endpoint.id} is there twice; names must be unique"
            )
        found[endpoint.id] = endpoint
    return list(found.values())


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


def port(value: Any, where: str) -> int:
    """A port, written as a number or as text. Raises ConfigError."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= HIGHEST_PORT:
        return int(text)
    what = "is missing; write" if value is None else f"{_shown(value)} is not a port; write"
    raise ConfigError(f"{where}: {what} a number from 1 to {HIGHEST_PORT}")


def _endpoint(entry: Any, where: str) -> Endpoint:
    fields = _fields(entry, where, ENTRY_KEYS)
    return Endpoint(
        name=_name(fields.get("name"), f"{where}.name"),
        namespace=_name(fields.get("namespace", "default"), f"{where}.namespace"),
        address=address(fields.get("address"), f"{where}.address"),
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
        raise ConfigError(f"{where}: is missing; every endpoint needs a name of its own")
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
