"""Replicas that listen for as long as a block lasts: for the command, for tests, for benches in-process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from bench.simulator.config import ReplicaConfig
from bench.simulator.server import Server

_GRACE_S = 1.0
"""Running streams may take this long once the block ends."""


@asynccontextmanager
async def running(
    replicas: Sequence[ReplicaConfig], *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[list[int]]:
    """Serve each replica on consecutive ports, or on free ones for port 0; yields the ports.

    OSError when a port is taken.
    """
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(_serving(config, host, port + index if port else 0))
            for index, config in enumerate(replicas)
        ]


@asynccontextmanager
async def _serving(config: ReplicaConfig, host: str, port: int) -> AsyncIterator[int]:
    """One replica. Handlers are cancelled when their client goes away, which frees the engine."""
    app = Server(config).app()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await asyncio.shield(runner.cleanup())
