"""How engines talk about kept blocks: one TCP connection for each prompt that is fetched.

The decode side says whose blocks it wants, and hears how many tokens there are or why there are none. Then it
says nothing until it has fetched them. While the connection is open the other side keeps the blocks; when it
breaks, each side knows that the other one is gone. Messages are JSON, one a line.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from bench.simulator.leases import Leases
from bench.simulator.nixl import Source
from endpoint_picker.aio import Tasks

PATIENCE_S: Final = 10.0
"""Wall seconds for a connection and its first message."""


class Wanted(msgspec.Struct):
    """The decode side's first message."""

    engine_id: str
    request_id: str


class Told(msgspec.Struct):
    """The answer: tokens that are kept, or why nothing is."""

    tokens: int = 0
    error: str = ""


class Lost(Exception):
    """The other engine is gone, or does not have what it should."""


class Listener:
    """The prefill side."""

    def __init__(
        self, engine_id: str, leases: Leases, now: Callable[[], float], fetched: Callable[[str], None]
    ) -> None:
        """`fetched` hears the name of a lease whose blocks have been fetched."""
        self._engine_id, self._leases = engine_id, leases
        self._now, self._fetched = now, fetched
        self._talking = Tasks()

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen for as long as the block lasts; yields the port. OSError when it is taken."""
        server = await asyncio.start_server(self._accept, host, port)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            await self._talking.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talking.start("side channel", self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that goes away or talks nonsense ends its own connection and nothing else.
            with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
                await self._talk(reader, writer)
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE_S):
            wanted = msgspec.json.decode(await reader.readline(), type=Wanted)
        sequence = self._leases.claim(wanted.request_id) if wanted.engine_id == self._engine_id else None
        if sequence is None:
            writer.write(_line(Told(error=self._refusal(wanted))))
            await writer.drain()
            return
        try:
            writer.write(_line(Told(tokens=sequence.total - 1)))
            await writer.drain()
            if await reader.readline():
                self._fetched(wanted.request_id)
        finally:
            self._leases.unclaim(wanted.request_id, self._now())

    def _refusal(self, wanted: Wanted) -> str:
        if wanted.engine_id != self._engine_id:
            return f"this is engine {self._engine_id}, not {wanted.engine_id}"
        return f"no blocks are kept for {wanted.request_id}: unknown, fetched already or expired"


class Claim:
    """The decode side's hold on what another engine keeps."""

    def __init__(self, tokens: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tokens = tokens
        self._reader, self._writer = reader, writer

    async def hold(self, seconds: float) -> None:
        """Wait that many wall seconds; Lost as soon as the other engine goes away."""
        try:
            async with asyncio.timeout(seconds):
                await self._reader.read(1)
        except TimeoutError:
            return
        except OSError as error:
            raise Lost(f"the connection to the prefill replica broke: {error}") from error
        raise Lost("the prefill replica closed the connection")

    def fetched(self) -> None:
        """The other engine may let go."""
        self._writer.write(b"{}\n")

    def close(self) -> None:
        """End the connection; unsent words are still sent."""
        self._writer.close()


async def claim(source: Source) -> Claim:
    """Ask the engine that `source` names; Lost when it is not there or has nothing."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(source.host, source.port)
    except (OSError, ValueError, OverflowError) as error:
        # TimeoutError is an OSError; what is no host or port is one of the others.
        raise Lost(f"no prefill replica at {source.host}:{source.port}: {error}") from error
    try:
        writer.write(_line(Wanted(source.engine_id, source.request_id)))
        async with asyncio.timeout(PATIENCE_S):
            told = msgspec.json.decode(await reader.readline(), type=Told)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        writer.close()
        raise Lost(f"no answer from the prefill replica at {source.host}:{source.port}: {error}") from error
    except BaseException:
        writer.close()
        raise
    if told.error:
        writer.close()
        raise Lost(told.error)
    return Claim(told.tokens, reader, writer)


def _line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"
