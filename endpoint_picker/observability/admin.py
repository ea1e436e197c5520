"""The metrics page over HTTP."""

import asyncio
from typing import Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from endpoint_picker.observability.metrics import Metrics

SHUTDOWN_SECONDS: Final = 1.0


class Page:
    """Serves `/metrics` on a port of its own."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        application = web.Application()
        application.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)

    async def start(self, port: int) -> int:
        """Listen on all interfaces; answers the port. Raises OSError when it is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, None, port, reuse_port=False)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Many label sets make a page of megabytes: on a thread it holds up no request.
        body = await asyncio.to_thread(encode, self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": content_type})
