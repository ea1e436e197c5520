"""The composition of a sidecar: listeners, connections, counts; started and ended here."""

import asyncio
import logging
import random
from pathlib import Path
from typing import Final

from aiohttp import web

from endpoint_picker import aio
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.observability import admin
from endpoint_picker.sidecar import connectors, ranks, targets
from endpoint_picker.sidecar.allow import AllowList
from endpoint_picker.sidecar.connectors.prefills import Prefills
from endpoint_picker.sidecar.counts import Counts
from endpoint_picker.sidecar.decoder import Decoder
from endpoint_picker.sidecar.encoders import Encoders
from endpoint_picker.sidecar.engines import LARGEST_HEADER, Engines
from endpoint_picker.sidecar.handler import Handler
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.targets import Target
from endpoint_picker.transport import tls

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 300.0
"""How long a client's connection may carry no request."""
BACKLOG: Final = 1024


class Sidecar:
    """One sidecar process."""

    def __init__(self, options: Options) -> None:
        """Raises ConfigError."""
        self._options = options
        self._counts = Counts()
        self._engines = Engines(options)
        self._allowed = AllowList(options)
        self._tasks = aio.Tasks()
        self._tls = _certificates(options).context() if options.secure_proxy else None
        log.addFilter(admin.is_ours)
        self._handlers = self._made()
        self._listeners = [_listener(handler, options) for handler in self._handlers]
        self._page = admin.Page(self._counts)
        self.ports: list[int] = []
        """Of the listeners, by rank."""
        self.metrics_port = 0

    async def start(self) -> None:
        """Listen. Raises OSError when a port is taken."""
        await self._engines.open()
        self._tasks.start("allowed prefillers", self._allowed.watch())
        for rank, listener in enumerate(self._listeners):
            await listener.setup()
            listening = aio.listen(self._options.port and self._options.port + rank, BACKLOG)
            await web.SockSite(listener, listening, ssl_context=self._tls).start()
            self.ports.append(int(listening.getsockname()[1]))
        self._name_ranks()
        if self._options.metrics_port:
            self.metrics_port = await self._page.start(self._options.metrics_port)
        if not self._allowed.any and not len(self._allowed):
            log.warning(
                "no prefill replica is allowed: requests that name one get 403; name them with "
                "--allowed-prefillers or --allowed-prefillers-file, or set --allow-any-prefiller"
            )

    async def stop(self) -> None:
        """Take no more requests, wait for those that are open as long as the options allow, and close."""
        await asyncio.gather(*(listener.cleanup() for listener in self._listeners))
        await self._tasks.close()
        await self._page.stop()
        await self._engines.close()

    def open(self) -> int:
        """Requests under way."""
        return self._counts.under_way()

    def _made(self) -> list[Handler]:
        options = self._options
        decoder = Decoder(options, self._engines)
        prefills = Prefills(options, self._engines, decoder, self._counts)
        connector = connectors.TABLE[options.kv_connector](prefills)
        encoders = Encoders(options, self._engines, self._counts) if options.ec_connector else None
        return [
            Handler(
                options,
                engine=ranks.engine(options, rank),
                decoder=decoder,
                connector=connector,
                encoders=encoders,
                allowed=self._allowed,
                counts=self._counts,
                rng=random.Random(),
            )
            for rank in range(options.data_parallel_size)
        ]

    def _name_ranks(self) -> None:
        """Tell the listeners who they are; the first one lets a header choose another rank."""
        self._handlers[0].ranks = ranks.Ranks(self._options, self.ports)
        host = targets.canonical(self._options.pod_ip)
        for handler, port in zip(self._handlers, self.ports, strict=True):
            handler.itself = Target(host, port) if host else None


def _listener(handler: Handler, options: Options) -> web.AppRunner:
    application = web.Application(client_max_size=options.max_request_body_bytes)
    application.router.add_route("*", "/{path:.*}", handler.serve)
    return web.AppRunner(
        application,
        access_log=None,
        logger=log,
        # A client that leaves takes its legs with it.
        handler_cancellation=True,
        shutdown_timeout=options.drain_timeout,
        keepalive_timeout=IDLE_SECONDS,
        auto_decompress=False,
        max_line_size=LARGEST_HEADER,
        max_field_size=LARGEST_HEADER,
    )


def _certificates(options: Options) -> tls.Certificates:
    if not options.cert_path:
        return tls.Certificates(tls.self_signed(), protocol=tls.HTTP)
    folder = Path(options.cert_path)
    return tls.Certificates(tls.load(folder), tls.reloader(folder, _keep), tls.HTTP)


def _keep(error: ConfigError) -> None:
    log.error("%s; the certificate stays as it was", error)
