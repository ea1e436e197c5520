"""The composition root: builds everything from the options, runs it, drains it on a signal."""

import asyncio
import logging
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from endpoint_picker import aio
from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.config import load
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.datalayer.discovery import parse_endpoints_flag
from endpoint_picker.datalayer.scrape import Scraper
from endpoint_picker.director import Director, Parts
from endpoint_picker.exchange import Books
from endpoint_picker.extproc import codec, conversation
from endpoint_picker.extproc.gathered import Room
from endpoint_picker.observability import admin
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Wiring
from endpoint_picker.transport import grpcio, http2, tls
from endpoint_picker.transport.health import Health
from endpoint_picker.transport.limits import Limits

log = logging.getLogger(__name__)

FIRST_SCRAPE_SECONDS: Final = 1.5
"""How long the start waits for the first reading of each replica: one scrape deadline and a little."""
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


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; sizes in bytes, times in seconds."""

    config_file: Path | None = None
    config_text: str = ""
    """Used where there is no file; empty means the default configuration."""
    endpoints: str = ""
    pool: str = "epp"
    transport: str = "http2"
    grpc_port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    secure: bool = True
    cert_path: Path | None = None
    cert_reload: bool = False
    health_on_grpc_port: bool = False
    max_request_body: int = 64 << 20
    max_gathered: int = 1 << 30
    max_receive: int | None = None
    max_send: int | None = None
    max_streams: int = 10_000
    keepalive: float = 20.0
    max_idle: float = 3600.0
    refresh_interval: float = 0.2
    staleness: float = 2.0
    drain: float = 30.0
    allow_experimental: bool = False
    lenient: bool = False
    honour_subset: bool = True
    emit_scores: bool = False
    seed: int | None = None
    """Makes random choices repeatable; None: not."""


class App:
    """One picker process."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._rng = random.Random(options.seed)
        self._table = EndpointTable(stale_after=options.staleness)
        self._metrics = Metrics(pool=options.pool, clock=clock)
        self._metrics.watch(self._table)
        self._assembly = self._assemble()
        self._scraper = self._scrapes()
        self._director = self._direct()
        self._ready = False
        self._live = True

    async def run(self) -> None:
        """Serve until a signal. Raises ConfigError or OSError when it cannot start."""
        stop = _signals()
        tasks = aio.Tasks()
        server, health_server = self._servers()
        page = admin.Page(self._metrics)
        try:
            await self._fill(tasks)
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
            await self._scraper.close()
            await page.stop()
            await health_server.stop(0.0)
            await server.stop(0.0)

    # === building ===

    def _assemble(self) -> Assembly:
        options = self._options
        wiring = Wiring(self._table, self._metrics, self._rng, self._clock)
        if options.config_file is not None:
            config = load.load_file(options.config_file, lenient=options.lenient)
        else:
            config = load.load(options.config_text, lenient=options.lenient)
        return assemble(config, wiring, allow_experimental=options.allow_experimental)

    def _scrapes(self) -> Scraper:
        return Scraper(
            self._table,
            self._metrics,
            self._assembly.feeds,
            clock=self._clock,
            rng=self._rng,
            interval=self._options.refresh_interval,
        )

    def _direct(self) -> Director:
        books = Books(
            table=self._table,
            ledger=Ledger(self._table),
            metrics=self._metrics,
            clock=self._clock,
            charge=self._assembly.charge,
            emit_scores=self._options.emit_scores,
            plugins=tuple(self._assembly.instances.values()),
        )
        return Director(
            Parts(
                books=books,
                parsers=Registry(self._assembly.parsers),
                producers=self._assembly.producers,
                scheduler=self._assembly.scheduler,
                plugins=books.plugins,
                honour_subset=self._options.honour_subset,
            )
        )

    def _servers(self) -> tuple[Server, Server]:
        """What serves the conversation, and what serves health."""
        shell, options = SHELLS[self._options.transport], self._options
        room = Room(body=options.max_request_body, total=options.max_gathered)
        health = Health(codec.SERVICE, ready=lambda: self._ready, live=lambda: self._live).services()
        services = conversation.services(self._director, room)
        if options.health_on_grpc_port:
            services = {**services, **health}
        return shell(services, _limits(options)), shell(health, Limits(message=HEALTH_MESSAGE))

    # === starting ===

    async def _fill(self, tasks: aio.Tasks) -> None:
        """Learn the members of the pool, and read each of them once."""
        discovery = self._assembly.discovery
        if discovery is None and not self._options.endpoints:
            raise ConfigError(
                "nobody to serve: name the replicas with --endpoints host:port,… or with the plugin "
                "file-discovery in dataLayer.discovery"
            )
        if discovery is None:
            self._table.replace(parse_endpoints_flag(self._options.endpoints))
        elif self._options.endpoints:
            raise ConfigError("--endpoints and dataLayer.discovery exclude each other: give one of them")
        else:
            discovery.load()
            if discovery.watching:
                tasks.start("discovery", discovery.watch(self._scraper.membership_changed))
        log.info("%d endpoints", len(self._table))
        tasks.start("scraping", self._scraper.run())
        await self._scraper.first_pass(FIRST_SCRAPE_SECONDS)

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
