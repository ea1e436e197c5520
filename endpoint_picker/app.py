"""The composition root: builds everything from the options, runs it, drains it on a signal."""

import asyncio
import dataclasses
import logging
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from endpoint_picker import aio
from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.config import load
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.director import Director, Parts
from endpoint_picker.extproc import codec
from endpoint_picker.extproc.server import Limits, Server
from endpoint_picker.observability import admin
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Wiring
from endpoint_picker.transport import tls
from endpoint_picker.transport.health import Health, HealthServer

log = logging.getLogger(__name__)

FIRST_SCRAPE_SECONDS: Final = 1.5
"""How long the start waits for the first reading of each replica: one scrape deadline and a little."""
LAST_STREAMS_SECONDS: Final = 100.0
"""How long open streams may take to end after the drain: less than a pod's usual grace of 130 s."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; sizes in bytes, times in seconds."""

    config_text: str = ""
    config_name: str = "--config-text"
    """Where the configuration came from, for messages."""
    endpoints: str = ""
    pool: str = "epp"
    grpc_port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    secure: bool = True
    cert_path: Path | None = None
    cert_reload: bool = False
    health_on_grpc_port: bool = False
    max_request_body: int = 64 << 20
    max_receive: int | None = None
    max_send: int | None = None
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
        self._ledger = Ledger(self._table)
        self._server = Server(self._director(), _limits(options))
        self._ready = False
        self._live = True

    async def run(self) -> None:
        """Serve until a signal. Raises ConfigError or OSError when it cannot start."""
        stop = _on_signals()
        tasks = aio.Tasks()
        health = Health(codec.SERVICE, ready=lambda: self._ready, live=lambda: self._live)
        health_server = HealthServer(health.handler())
        page = admin.Page(self._metrics)
        if self._options.health_on_grpc_port:
            self._server.add(health.handler())
        try:
            await self._fill_table(tasks)
            ports = (
                await self._listen(),
                await health_server.start(self._options.health_port),
                await page.start(self._options.metrics_port),
            )
            self._ready = True
            log.info("serving ext_proc on %d, health on %d, metrics on %d; %d endpoints", *ports, len(self._table))
            await self._drain(await stop.get(), stop)
        finally:
            await page.stop()
            await health_server.stop()
            await tasks.close()
            await self._assembly.close()

    async def _listen(self) -> int:
        options = self._options
        if not options.secure:
            return await self._server.start(options.grpc_port, None)
        if options.cert_path is None:
            return await self._server.start(options.grpc_port, tls.self_signed())
        renewed = tls.reloader(options.cert_path, _keep_certificate) if options.cert_reload else None
        return await self._server.start(options.grpc_port, tls.load(options.cert_path), renewed)

    async def _drain(self, why: signal.Signals, stop: "asyncio.Queue[signal.Signals]") -> None:
        """Say "not ready", go on serving for the drain time, then wait for the open streams.

        The gateway needs the time to notice; a second signal cuts it short.
        """
        self._ready = False
        patience = 0.0 if why is signal.SIGINT else self._options.drain
        log.info("%s: draining for %.0f s; %d streams open", why.name, patience, self._server.open)
        try:
            await asyncio.wait_for(stop.get(), patience)
        except TimeoutError:
            self._live = False
            await self._until_second_signal(stop)
        else:
            await self._server.stop(0.0)
        log.info("stopped; %d requests in the ledger", self._ledger.open)

    async def _until_second_signal(self, stop: "asyncio.Queue[signal.Signals]") -> None:
        tasks = aio.Tasks()
        ending = tasks.start("last streams", self._server.stop(LAST_STREAMS_SECONDS))
        again = tasks.start("second signal", stop.get())
        await asyncio.wait({ending, again}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await self._server.stop(0.0)
        await tasks.close()
