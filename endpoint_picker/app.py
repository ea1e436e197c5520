"""The composition root: builds everything from the options, runs it, drains it on a signal."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from endpoint_picker import aio
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.extproc import codec, conversation
from endpoint_picker.extproc.gathered import Room
from endpoint_picker.observability import admin
from endpoint_picker.options import Options
from endpoint_picker.running import Running
from endpoint_picker.transport import grpcio, http2, tls
from endpoint_picker.transport.health import Health
from endpoint_picker.transport.limits import Limits

log = logging.getLogger(__name__)

SHELLS: Final[Mapping[str, type[http2.Server] | type[grpcio.Server]]] = {
    "http2": http2.Server,
    "grpcio": grpcio.Server,
}
"""What carries the conversations, by the value of --transport."""
LAST_STREAMS_SECONDS: Final = 100.0
"""How long open streams may take to end after the drain: less than a pod's usual grace of 130 s."""

HEALTH_MESSAGE: Final = 1 << 20
"""Bytes; a question about a service's health is a name."""

Server = http2.Server | grpcio.Server


class App:
    """One picker process."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._running = Running(options, clock)
        self._ready = False
        self._live = True

    async def run(self) -> None:
        """Serve until a signal. Raises ConfigError or OSError when it cannot start."""
        stop = _signals()
        tasks = aio.Tasks()
        server, health_server = self._servers()
        page = admin.Page(self._running.metrics)
        try:
            await self._running.start(tasks)
            ports = (
                await self._listen(server),
                await health_server.start(self._options.health_port),
                await page.start(self._options.metrics_port),
            )
            self._ready = True
            log.info("serving ext_proc on %d, health on %d, metrics on %d", *ports)
            await self._drain(server, await stop.get(), stop)
        finally:
            await tasks.close()
            await self._running.close()
            await page.stop()
            await health_server.stop(0.0)
            await server.stop(0.0)

    # === starting ===

    def _servers(self) -> tuple[Server, Server]:
        """What serves the conversation, and what serves health."""
        shell, options = SHELLS[self._options.transport], self._options
        room = Room(body=options.max_request_body, total=options.max_gathered)
        health = Health(codec.SERVICE, ready=lambda: self._ready, live=lambda: self._live).services()
        services = conversation.services(self._running.director, room, self._running.prefills)
        if options.health_on_grpc_port:
            services = {**services, **health}
        return shell(services, _limits(options)), shell(health, Limits(message=HEALTH_MESSAGE))

    async def _listen(self, server: Server) -> int:
        options = self._options
        if not options.secure:
            return await server.start(options.grpc_port)
        return await server.start(options.grpc_port, self._certificates())

    def _certificates(self) -> tls.Certificates:
        folder = self._options.cert_path
        if folder is None:
            return tls.Certificates(tls.self_signed())
        renewed = tls.reloader(folder, _keep_certificate) if self._options.cert_reload else None
        return tls.Certificates(tls.load(folder), renewed)

    # === ending ===

    async def _drain(
        self, server: Server, why: signal.Signals, stop: "asyncio.Queue[signal.Signals]"
    ) -> None:
        """Say "not ready", go on serving for the drain time, then wait for the open streams.

        The gateway needs the time to notice. A second signal cuts it short; Ctrl-C does not wait at all.
        """
        self._ready = False
        patience = 0.0 if why is signal.SIGINT else self._options.drain
        log.info("%s: draining for %g s, %d streams open", why.name, patience, server.open)
        again = aio.Tasks()
        impatient = again.start("second signal", stop.get())
        await asyncio.wait({impatient}, timeout=patience)
        self._live = False
        last = 0.0 if impatient.done() else LAST_STREAMS_SECONDS
        ending = again.start("last streams", server.stop(last))
        await asyncio.wait({ending, impatient}, return_when=asyncio.FIRST_COMPLETED)
        await server.stop(0.0)
        await again.close()
        log.info("stopped, %d streams open", server.open)


def _limits(options: Options) -> Limits:
    message = options.max_receive or conversation.largest_message(options.max_request_body)
    return Limits(
        message=message,
        assembling=2 * message,
        send_message=options.max_send,
        streams=options.max_streams,
        silence=options.keepalive,
        idle=options.max_idle,
    )


def _signals() -> "asyncio.Queue[signal.Signals]":
    """The signals that ask for an end, as they come."""
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, asked.put_nowait, each)
    return asked


def _keep_certificate(error: ConfigError) -> None:
    log.error("%s; the certificate stays as it was", error)
