"""The shell around the state machine: sockets, TLS and timers under asyncio.

Whatever one read brings is served whole and answered with one write.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from endpoint_picker import aio
from endpoint_picker.observability import logs
from endpoint_picker.transport import tls
from endpoint_picker.transport.calls import Calls, Services
from endpoint_picker.transport.connection import Connection
from endpoint_picker.transport.frames import ErrorCode
from endpoint_picker.transport.limits import Limits

log = logging.getLogger(__name__)

TICK: Final = 1.0
"""Seconds between two looks at the clock, at most."""
BACKLOG: Final = 1024
"""Connections that wait to be accepted: a fleet of proxies may come back all at once."""


class Peer(asyncio.Protocol):
    """One connection on its socket."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.connection = Connection(server.limits, self._loop.time())
        self.calls = Calls(self.connection, server.services, server.limits, self._later)
        self._transport: asyncio.Transport | None = None
        self._closing_since: float | None = None

    # === asyncio.Protocol ===

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own derive from nothing
        self._server.peers.add(self)
        handshake = transport.get_extra_info("ssl_object")
        if handshake is not None and handshake.selected_alpn_protocol() != tls.PROTOCOL:
            self.leave()  # RFC 9113, 3.3: over TLS, HTTP/2 is spoken only where it was agreed on

    def data_received(self, data: bytes) -> None:
        try:
            self.calls.handle(self.connection.receive(data, self._loop.time()))
            self.flush()
        except Exception as error:
            self._failed(error)

    def eof_received(self) -> bool:
        return False  # a peer that cannot send cannot hold a conversation

    def pause_writing(self) -> None:
        self.connection.block_output(True)

    def resume_writing(self) -> None:
        self.connection.block_output(False)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._server.peers.discard(self)
        self.calls.handle(self.connection.abandon())
        self._server.left.set()

    # === what the server and its calls ask for ===

    def flush(self) -> None:
        """Send what the machine has to say; after its last word, close."""
        transport, data = self._transport, self.connection.take()
        if transport is None:
            return
        if data:
            transport.write(data)
        if self.connection.closed and self._closing_since is None:
            self._closing_since = self._loop.time()
            self._tell_why()
            transport.close()

    def tick(self, now: float) -> None:
        """Let the machine look at the clock."""
        if self._closing_since is not None:
            if now - self._closing_since > self._server.limits.linger:
                self._abort()
            return
        try:
            self.calls.handle(self.connection.tick(now))
            self.flush()
        except Exception as error:
            self._failed(error)

    def leave(self) -> None:
        """Say goodbye: what goes on goes on, and nothing new begins."""
        self.connection.leave()
        self.flush()

    def abandon(self) -> None:
        """End now."""
        self.calls.handle(self.connection.abandon())
        self.flush()

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], object]:
        def run() -> None:
            call()
            self.flush()

        return self._loop.call_later(seconds, run).cancel

    def _failed(self, error: Exception) -> None:
        """A defect of ours costs one connection, whose peer comes back."""
        self._server.complaints.exception(type(error).__name__, "a connection failed")
        self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _tell_why(self) -> None:
        fault = self.connection.failure
        if fault is not None and fault.code is not ErrorCode.NO_ERROR:
            self._server.complaints.warning(
                fault.code.name, "a connection was ended, %s: %s", fault.code.name, fault.reason
            )


class Server:
    """Serves calls on a port."""

    def __init__(self, services: Services, limits: Limits) -> None:
        self.services = services
        self.limits = limits
        self.peers: set[Peer] = set()
        self.left = asyncio.Event()
        """Set whenever a peer has left."""
        self.complaints = logs.Sparse(log)
        self._listener: asyncio.Server | None = None
        self._stopping = False

    @property
    def open(self) -> int:
        """Calls going on."""
        return sum(len(peer.calls) for peer in self.peers)

    async def start(self, port: int, certificates: tls.Certificates | None = None) -> int:
        """Listen, with TLS where there are certificates; answers the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        listening = aio.listen(port, BACKLOG)
        self._listener = await loop.create_server(
            lambda: Peer(self),
            sock=listening,
            ssl=certificates.context() if certificates else None,
            ssl_handshake_timeout=self.limits.handshake if certificates else None,
        )
        self._tick()
        return int(listening.getsockname()[1])

    async def stop(self, patience: float) -> None:
        """Take no more calls, and give those that go on this long (seconds) to end. May be called again."""
        if self._listener is not None:
            self._listener.close()
        for peer in list(self.peers):
            peer.leave()
        try:
            async with asyncio.timeout(patience):
                await self._all_left()
        except TimeoutError:
            for peer in list(self.peers):
                peer.abandon()
        self._stopping = True

    async def _all_left(self) -> None:
        while self.peers:
            self.left.clear()
            await self.left.wait()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for peer in list(self.peers):
            peer.tick(loop.time())
        if self.peers or not self._stopping:
            loop.call_later(min(TICK, self.limits.silence / 4), self._tick)
