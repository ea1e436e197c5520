"""Who may be sent a prompt. A header names the place, so nothing is allowed that nobody named.

Entries are hosts (any port of theirs), `host:port`, or networks such as `10.0.0.0/8`. A name and the
address that it resolves to are different hosts: what is compared is what the header says.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import Final

from endpoint_picker import aio
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer import discovery
from endpoint_picker.sidecar import targets
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.targets import Target

log = logging.getLogger(__name__)

POLL_SECONDS: Final = discovery.POLL_SECONDS
SETTLE_SECONDS: Final = discovery.SETTLE_SECONDS
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_ENDPOINTS: Final = re.compile(r"\s*\{|^endpoints\s*:\s*(?:\[|#|$)", re.MULTILINE)
"""How an endpoints file is told from a list of entries."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Entries:
    """Some entries, ready to be asked."""

    def __init__(self, texts: Iterable[str], where: str) -> None:
        """Raises ConfigError for an entry that is none."""
        self._hosts: set[str] = set()
        self._targets: set[Target] = set()
        self._networks: list[Network] = []
        for text in texts:
            if not self._add(text):
                raise ConfigError(
                    f"{where}: {text!r} is neither a host, host:port nor a network; "
                    "write one such as prefill-0, 10.0.0.7:8000, [fd00::7]:8000 or 10.0.0.0/8"
                )

    def __len__(self) -> int:
        return len(self._hosts) + len(self._targets) + len(self._networks)

    def __contains__(self, target: Target) -> bool:
        if target.host in self._hosts or target in self._targets:
            return True
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(target.host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def _add(self, text: str) -> bool:
        if "/" in text:
            try:
                self._networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                return False
            return True
        if target := targets.read(text):
            self._targets.add(target)
            return True
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        host = targets.canonical(bare) if ":" in bare or _HOST.fullmatch(bare) else None
        if not host:
            return False
        self._hosts.add(host)
        return True


class AllowList:
    """The flag's entries and the file's, or everything."""

    def __init__(self, options: Options) -> None:
        """Reads the file. Raises ConfigError."""
        self.any = options.allow_any_prefiller
        self._path = options.allowed_prefillers_file
        self._given = Entries(options.allowed_prefillers, "--allowed-prefillers")
        self._content: bytes | str = b""
        """What the last look saw: the file's bytes, or why there are none."""
        self._listed = Entries((), "")
        if self._path:
            self._content = discovery.read_file(self._path)
            self._listed = read(self._content, self._path)

    def __len__(self) -> int:
        return len(self._given) + len(self._listed)

    def allows(self, target: Target) -> bool:
        return self.any or target in self._given or target in self._listed

    async def watch(self, *, poll: float = POLL_SECONDS, settle: float = SETTLE_SECONDS) -> None:
        """Follow the file for ever, where there is one. A bad file leaves the list as it is."""

        async def look() -> float:
            await self._look(settle)
            return poll

        if self._path:
            await aio.repeat(f"watching {self._path}", look, after_failure=poll)

    async def _look(self, settle: float) -> None:
        seen = await asyncio.to_thread(_seen, self._path)
        if seen == self._content:
            return
        await asyncio.sleep(settle)
        if await asyncio.to_thread(_seen, self._path) != seen:
            return  # still being written: the next look will tell
        self._content = seen
        try:
            if isinstance(seen, str):
                raise ConfigError(seen)
            self._listed = read(seen, self._path)
        except ConfigError as error:
            log.error("%s; the last good list of %d entries stays", error, len(self._listed))
            return
        log.info("%s: %d entries", self._path, len(self._listed))


def read(content: bytes, source: str) -> Entries:
    """The entries of a file: one a line, or the endpoints of an endpoints file. Raises ConfigError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if _ENDPOINTS.search(text):
        listing = discovery.parse(content, source)
        return Entries((str(Target(each.address, each.port)) for each in listing.endpoints), source)
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return Entries(filter(None, lines), source)


def _seen(path: str) -> bytes | str:
    try:
        return discovery.read_file(path)
    except ConfigError as error:
        return str(error)
