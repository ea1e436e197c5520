"""Where a leg goes: a host and a port, as headers name them."""

import ipaddress
import re
from typing import Final, NamedTuple

from endpoint_picker.core.endpoints import join_host_port

_WRITTEN: Final = re.compile(
    r"(?:https?://)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]{1,253})):(?P<port>[0-9]{1,5})/?"
)
"""Nothing that could end the host within a URL gets through."""


class Target(NamedTuple):
    """One engine."""

    host: str
    """A name in lower case, or an IP address in its shortest form, without brackets."""
    port: int

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


def read(text: str) -> Target | None:
    """The target of `host:port` or `[v6]:port`, with or without a scheme; None where it is something else."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or not 1 <= int(found["port"]) <= 65535:
        return None
    host = canonical(found["six"] or found["host"])
    return None if host is None else Target(host, int(found["port"]))


def canonical(host: str) -> str | None:
    """A host in the one spelling that is compared; None where it looks like an address but is none."""
    if ":" not in host and not re.fullmatch(r"[0-9.]+", host):
        return host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)
