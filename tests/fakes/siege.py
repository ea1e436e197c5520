"""A server under attack: what it answers, what it holds in memory, and whether others are still served."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, PingFrame

from endpoint_picker.transport.http2 import Server
from tests.fakes.http2_client import DATA, END_STREAM, PING, Client, frame, message
from tests.fakes.talking import Talk, talking

KIB: Final = 1 << 10
MIB: Final = 1 << 20
CHUNK: Final = 32 * KIB
"""Of an attack that is sent at once, so that it takes no memory of its own."""
BURST: Final = 100
"""Frames that do no good which the server of a siege forgives, for ever."""


class Siege:
    """An attacker, a bystander with a connection of its own, and the server."""

    def __init__(self, talk: Talk, server: Server, port: int, attacker: Client, bystander: Client) -> None:
        self.talk = talk
        self.server = server
        self.port = port
        self.attacker = attacker
        self.bystander = bystander
        self._base = 0

    def measure(self) -> None:
        """Memory is compared to now."""
        gc.collect()
        tracemalloc.reset_peak()
        self._base = tracemalloc.get_traced_memory()[0]

    @property
    def grown(self) -> int:
        """Bytes held more than at `measure`."""
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - self._base

    @property
    def peak(self) -> int:
        """The most that were ever held more."""
        return tracemalloc.get_traced_memory()[1] - self._base

    async def attack(self, data: bytes) -> GoAwayFrame | None:
        """Send it, taking whatever comes; answers the goodbye, None when the connection holds."""
        self.attacker.keeps = False
        self.measure()
        reading = asyncio.create_task(self._read())
        for at in range(0, len(data), CHUNK):
            await self.attacker.send(data[at : at + CHUNK])
        await self.attacker.send(frame(PING, 0, b"survived"))
        goodbye = await reading
        self.attacker.keeps = True
        return goodbye

    async def _read(self) -> GoAwayFrame | None:
        while (came := await self.attacker.frame()) is not None:
            if isinstance(came, PingFrame) and came.opaque_data == b"survived":
                return None
        said = [came for came in self.attacker.frames if isinstance(came, GoAwayFrame)]
        assert said, "no GOAWAY"
        return said[-1]

    async def repelled(self, data: bytes, code: int = ErrorCodes.ENHANCE_YOUR_CALM) -> None:
        """The attack ends its own connection with this code, leaves nothing behind, and hurts nobody."""
        goodbye = await self.attack(data)
        assert goodbye is not None, "the connection holds"
        assert ErrorCodes(goodbye.error_code) == code, goodbye.additional_data
        await self.nobody_was_hurt()

    async def nobody_was_hurt(self, *, most: int = MIB // 2) -> None:
        """The attacker is gone or has nothing open; the bystander's stream and new connections are served."""
        bystander = self.bystander
        await bystander.send(frame(DATA, 1, message(b"still here"), END_STREAM))
        assert (await bystander.response(1)).messages == [b"still here"]
        await bystander.works()
        newcomer = await (await Client.connect(self.port)).greet()
        await newcomer.works()
        await newcomer.close()
        async with asyncio.timeout(3.0):
            while self.server.open:
                await asyncio.sleep(0.005)
        assert self.talk.opened == self.talk.closed
        assert self.grown < most


@asynccontextmanager
async def siege(**limits: Any) -> AsyncIterator[Siege]:
    """A server that forgives little, with an open stream of a bystander."""
    talk = Talk()
    async with talking(talk, **{"burst": BURST, "rate": 0.0, **limits}) as (server, port):
        attacker = await (await Client.connect(port)).greet()
        bystander = await (await Client.connect(port)).greet()
        await bystander.send(bystander.headers(1))
        await bystander.sync()
        tracemalloc.start()
        try:
            yield Siege(talk, server, port, attacker, bystander)
        finally:
            tracemalloc.stop()
            await attacker.close()
            await bystander.close()
