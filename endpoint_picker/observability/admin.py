"""The metrics page over HTTP."""

import asyncio
import logging
from typing import Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from endpoint_picker import aio

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS: Final = 1.0


def is_ours(record: logging.LogRecord) -> bool:
    """Not what a stranger sent that is no HTTP: it is answered, and must not fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class Series(Protocol):
    """What a program counts."""

    registry: CollectorRegistry


class Page:
    """Serves `/metrics` on a port of its own."""

    def __init__(self, metrics: Series) -> None:
        self._metrics = metrics
        log.addFilter(is_ours)
        application = web.Application()
        application.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(
            application, access_log=None, logger=log, shutdown_timeout=SHUTDOWN_SECONDS
        )

    async def start(self, port: int) -> int:
        """Listen on all interfaces; answers the port. Raises OSError when it is taken."""
        await self._runner.setup()
        listening = aio.listen(port)
        await web.SockSite(self._runner, listening).start()
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Many label sets make a page of megabytes: on a thread it holds up no request.
        body = await asyncio.to_thread(encode, self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": content_type})
