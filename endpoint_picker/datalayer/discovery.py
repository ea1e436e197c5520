"""Fills the pool from a file, or from a flag, without any orchestrator.

The file is polled instead of watched by the kernel: a poll sees every way in which files change (rename,
the symlinks of a mounted ConfigMap, network file systems), and a pool changes by the minute. It is read and
parsed on a thread, so that a large file or a slow disk never holds up a request.
"""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any, Final

from endpoint_picker import aio
from endpoint_picker.config import document
from endpoint_picker.core.endpoints import Change, Endpoint, join_host_port
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer import pods, records, values
from endpoint_picker.datalayer.records import Listing
from endpoint_picker.datalayer.values import Place
from endpoint_picker.plugin import Parameters, Plugin, Wiring

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.1
"""A change counts once the file reads the same after this time: half of a file can be valid as well."""
LARGEST: Final = 1 << 20
"""Bytes of a file."""


class FileParameters(Parameters, frozen=True):
    """Parameters of `file-discovery`."""

    path: str
    watch_file: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: is empty; name the endpoints file")


class FileDiscovery(Plugin):
    """`file-discovery`: the pool is what a YAML or JSON file lists."""

    type = "file-discovery"
    schema = FileParameters
    place = staticmethod(values.address)
    """How the addresses of endpoints are read."""

    def __init__(self, name: str, parameters: FileParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self.path = parameters.path
        self.watching = parameters.watch_file
        """Whether `watch` is to be started."""
        self._last: bytes | str = b""
        """What the last look saw: the file's bytes, or why there are none."""
        self._good = False

    def load(self) -> Change:
        """Read the file into the table. Raises ConfigError."""
        self._last = read_file(self.path)
        return self._take(parse(self._last, self.path, self.place))

    async def watch(
        self, changed: Callable[[], None], *, poll: float = POLL_SECONDS, settle: float = SETTLE_SECONDS
    ) -> None:
        """Follow the file for ever, and call `changed` after each change of the table.

        A file that is bad, or gone, leaves the table as it is; each bad content is logged once.
        """

        async def look() -> float:
            if await self._look(settle):
                changed()
            return poll

        await aio.repeat(f"watching {self.path}", look, after_failure=poll)

    async def _look(self, settle: float) -> bool:
        seen = await asyncio.to_thread(_seen, self.path)
        if seen == self._last:
            return False
        await asyncio.sleep(settle)
        if await asyncio.to_thread(_seen, self.path) != seen:
            return False  # still being written: the next look will tell
        self._last = seen
        try:
            listing = await asyncio.to_thread(_parse_seen, seen, self.path, self.place)
        except ConfigError as error:
            self._good = False
            log.error("%s; the last good list of %d endpoints stays", error, len(self.wiring.table))
            return False
        recovered = not self._good
        change = self._take(listing)
        self._tell(change, recovered)
        return True

    def _take(self, listing: Listing) -> Change:
        self._good = True
        self.wiring.table.objectives.replace(listing.objectives)
        return self.wiring.table.replace(listing.endpoints)

    def _tell(self, change: Change, recovered: bool) -> None:
        log.info(
            "%s%s: %d endpoints, %d came, %d went",
            self.path,
            " is good again" if recovered else "",
            len(self.wiring.table),
            len(change.added),
            len(change.removed),
        )


class MulticlusterFileDiscovery(FileDiscovery):
    """`multicluster-file-discovery`: the pool is the clusters of a file, each behind a gateway.

    A gateway may be named by its host. Its metrics may be elsewhere; labels say so (see `sources`).
    """

    type = "multicluster-file-discovery"
    stability = "alpha"
    place = staticmethod(values.host)


def read_file(path: str) -> bytes:
    """Contents of an endpoints file. Raises ConfigError when it cannot be read or is too large."""
    try:
        with open(path, "rb", opener=_without_blocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: is not a file; name a YAML or JSON file of endpoints")
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path!r}: is no path: {error}") from error
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: is larger than 1 MiB; an endpoints file must be smaller")
    return content


def parse(content: bytes, source: str, place: Place = values.address) -> Listing:
    """What a file lists. Raises ConfigError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    return records.read(document.read(text, source), source, place)


def _without_blocking(path: str, flags: int) -> int:
    # The open of a pipe would otherwise wait for a writer, maybe for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _seen(path: str) -> bytes | str:
    try:
        return read_file(path)
    except ConfigError as error:
        return str(error)


def _parse_seen(seen: bytes | str, path: str, place: Place) -> Listing:
    if isinstance(seen, str):
        raise ConfigError(seen)
    return parse(seen, path, place)


# === the flag ===


def parse_endpoints_flag(text: str) -> list[Endpoint]:
    """The endpoints of `host:port,…`: IPv4, IPv6 in brackets, or names, which are resolved once.

    Each is named after its `ip:port`. `host:port-port` is a pod with a rank at each of these ports. Raises
    ConfigError.
    """
    found: dict[str, Endpoint] = {}
    for item in text.split(","):
        for endpoint in _from_flag(item.strip()):
            if endpoint.host_port in found:
                raise ConfigError(
                    f"--endpoints: {item.strip()} is there twice ({endpoint.host_port}); remove one"
                )
            found[endpoint.host_port] = endpoint
    return list(found.values())


def _from_flag(item: str) -> Sequence[Endpoint]:
    host, colon, port_text = item.rpartition(":")
    host, bracketed = (host[1:-1], True) if host.startswith("[") and host.endswith("]") else (host, False)
    if not colon or not host or (":" in host) != bracketed:
        raise ConfigError(
            f"--endpoints: {item!r} is not host:port; write 10.0.0.7:8000, [fd00::7]:8000 or localhost:8000"
        )
    where = f"--endpoints: {item}"
    first, dash, last = port_text.partition("-")
    port = values.port(first, where)
    ports = range(port, values.port(last, where) + 1) if dash else range(port, port + 1)
    if not 0 < len(ports) <= pods.MOST_RANKS:
        raise ConfigError(f"{where}: is no range of 1 to {pods.MOST_RANKS} ports; write 10.0.0.7:8000-8007")
    address = values.address(_resolved(host, item), where)
    pod = Endpoint(join_host_port(address, port), address, port)
    return pods.ranks(pod, ports) if dash else [pod]


def _resolved(host: str, item: str) -> str:
    """Its first IPv4 address, else its first one: servers listen on IPv4 more often than on both."""
    try:
        answers: list[Any] = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--endpoints: {item}: the host {host!r} cannot be resolved: {error}") from error
    answers.sort(key=lambda answer: answer[0] != socket.AF_INET)
    return str(answers[0][4][0])
