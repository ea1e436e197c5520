"""A prefill replica without an engine: it answers where a prompt would be, or fails in the way it is told."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from endpoint_picker.core.endpoints import Endpoint

PARAMS: Final = '{"do_remote_prefill":true, "remote_block_ids":[[1,2]], "remote_host":"h","x":1e400}'
"""In a spelling that would not survive a decoder."""


class Prefiller:
    """One server on loopback."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.bodies: list[bytes] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.paths: list[str] = []
        self.status = 200
        self.params = PARAMS
        self.breaks = False
        """It ends the connection in the middle of the answer."""
        self.packs = False
        """It compresses its answers, whether or not that was asked for."""
        self.go = asyncio.Event()
        """Nothing is answered before it is set."""
        self.go.set()
        self.left = 0
        """Requests whose client did not wait for the answer."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def endpoint(self, role: str = "prefill") -> Endpoint:
        return Endpoint(self.name, "127.0.0.1", self.port, labels={"llm-d.ai/role": role})

    async def asked(self, times: int = 1) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(5.0):
            while len(self.bodies) < times:
                await asyncio.sleep(0.005)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.raw_path)
        self.headers.append([(name.lower(), value) for name, value in request.headers.items()])
        self.bodies.append(await request.read())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        text = f'{{"id":"cmpl-1","choices":[],"kv_transfer_params":{self.params}}}'
        if self.packs:
            packed = {"content-type": "application/json", "content-encoding": "gzip"}
            return web.Response(body=gzip.compress(text.encode()), headers=packed)
        if not self.breaks:
            return web.Response(text=text, status=self.status, content_type="application/json")
        response = web.StreamResponse(headers={"content-length": str(len(text))})
        await response.prepare(request)
        await response.write(text[:20].encode())
        assert request.transport is not None
        request.transport.abort()
        return response


@asynccontextmanager
async def prefillers(*names: str) -> AsyncIterator[list[Prefiller]]:
    """Servers of these names, listening."""
    servers, runners = [Prefiller(name) for name in names], list[web.AppRunner]()
    for server in servers:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/{path:.*}", server.serve)
        runner: Any = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.2, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        runners.append(runner)
    try:
        yield servers
    finally:
        for runner in runners:
            await runner.cleanup()
