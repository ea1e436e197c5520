"""Two engines talk about kept blocks over a real connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.simulator.leases import Leases
from bench.simulator.nixl import Source
from bench.simulator.sequence import Sequence
from bench.simulator.sidechannel import Listener, Lost, claim


class Prefill:
    """A listening engine that keeps one prompt of 60 tokens as `r`."""

    def __init__(self) -> None:
        self.leases = Leases(30.0)
        self.leases.grant("r", Sequence(60, 1), 0.0)
        self.fetched: list[str] = []
        self.gone = asyncio.Event()
        self.port = 0

    def source(self, **changes: str) -> Source:
        fields: dict[str, Any] = {"engine_id": "e", "request_id": "r", "host": "127.0.0.1"}
        return Source(**(fields | {"port": str(self.port)} | changes))

    def take(self, name: str) -> None:
        self.leases.take(name)
        self.fetched.append(name)
        self.gone.set()


@contextlib.asynccontextmanager
async def prefill() -> AsyncIterator[Prefill]:
    side = Prefill()
    async with Listener("e", side.leases, lambda: 7.0, side.take).serving("127.0.0.1", 0) as side.port:
        yield side


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never became true")


async def test_a_claim_holds_the_lease_until_the_blocks_are_fetched() -> None:
    async with prefill() as side:
        held = await claim(side.source())
        assert (held.tokens, side.leases.next_end) == (60, None)
        await held.hold(0.01)
        held.fetched()
        await side.gone.wait()
        held.close()
        assert (side.fetched, len(side.leases)) == (["r"], 0)


async def test_a_claim_that_breaks_leaves_the_lease() -> None:
    async with prefill() as side:
        held = await claim(side.source())
        held.close()
        await until(lambda: side.leases.next_end == 37.0)
        assert side.fetched == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engine_id": "another"}, "this is engine e, not another"),
        ({"request_id": "unknown"}, "no blocks are kept for unknown"),
        ({"request_id": "x" * 100_000}, "no answer"),
        ({"port": "1"}, "no prefill replica at 127.0.0.1:1"),
        ({"port": "no port"}, "no prefill replica"),
        ({"port": "70000"}, "no prefill replica"),
        ({"host": "\0"}, "no prefill replica"),
        ({"host": "é" * 300}, "no prefill replica"),
    ],
)
async def test_what_cannot_be_claimed_is_lost_with_its_reason(changes: dict[str, str], reason: str) -> None:
    async with prefill() as side:
        with pytest.raises(Lost, match=reason):
            await claim(side.source(**changes))
        assert side.leases.next_end == 30.0


async def test_the_end_of_the_other_engine_ends_the_wait() -> None:
    async with contextlib.AsyncExitStack() as stack:
        side = await stack.enter_async_context(prefill())
        held = await claim(side.source())
        waiting = asyncio.create_task(held.hold(60.0))
        await asyncio.sleep(0)
        await stack.aclose()
        with pytest.raises(Lost, match="closed the connection"):
            await waiting
        held.close()


@pytest.mark.parametrize("said", [b"", b"nonsense\n", b"[]\n", b"{}\n", b"\xff" * 200_000])
async def test_nonsense_ends_only_its_own_connection(said: bytes) -> None:
    async with prefill() as side:
        reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
        writer.write(said)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        held = await claim(side.source())
        held.close()
