"""The conversation of a pool on a real port, over either transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from endpoint_picker.app import SHELLS
from endpoint_picker.extproc import conversation
from endpoint_picker.extproc.gathered import Room
from endpoint_picker.transport.limits import Limits
from tests.fakes.routing import Pool

LIMIT = 64 << 20
"""Bytes of a request body."""


@asynccontextmanager
async def serving(transport: str, pool: Pool, *, limit: int = LIMIT, **limits: Any) -> AsyncIterator[str]:
    """The address; all calls are over at the end."""
    services = conversation.services(pool.director, Room(body=limit, total=16 * limit), pool.prefills)
    server = SHELLS[transport](services, Limits(**limits))
    port = await server.start(0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(5.0)
        await pool.prefills.close()
    async with asyncio.timeout(5.0):
        while server.open:  # a cancelled handler ends a moment after its stream
            await asyncio.sleep(0.01)
