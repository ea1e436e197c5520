"""One engine's part in the exchange of KV entries, on the wall clock.

For others it keeps blocks under leases. For itself it holds on to what its waiting prompts need, from their
arrival until the entries are here, and tells the engine how that went.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from bench.simulator import nixl, sidechannel
from bench.simulator.clock import Clock
from bench.simulator.config import TransferConfig
from bench.simulator.engine import Engine
from bench.simulator.leases import Leases
from bench.simulator.nixl import Source
from bench.simulator.sequence import Sequence
from bench.simulator.sidechannel import Claim, Lost
from bench.simulator.telemetry import Telemetry
from bench.simulator.tickets import Ticket
from endpoint_picker.aio import Tasks

log = logging.getLogger(__name__)


class Host(Protocol):
    """What the connector needs of its replica."""

    clock: Clock
    engine: Engine
    telemetry: Telemetry

    def wake(self) -> None:
        """There may be work for the engine."""

    def fail(self, ticket: Ticket, reason: str) -> None:
        """There will be no tokens."""


class Connector:
    """Leases of what was computed here, and fetches of what was computed elsewhere."""

    def __init__(self, config: TransferConfig, host: Host) -> None:
        self.engine_id = str(uuid.uuid4())
        self._config, self._host = config, host
        self._port = config.port
        self._leases = Leases(config.lease_s)
        self._granted = asyncio.Event()
        self._tasks = Tasks()
        self._begun: dict[Sequence, asyncio.Future[float]] = {}
        self._fetches: dict[Sequence, asyncio.Task[None]] = {}
        self._next_block = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, and end leases, for as long as the block lasts; OSError when the port is taken."""
        listener = sidechannel.Listener(
            self.engine_id, self._leases, lambda: self._host.clock.now, self._fetched_by_other
        )
        async with listener.serving(self._config.host, self._config.port) as self._port:
            self._tasks.start("leases", self._end_leases())
            try:
                yield
            finally:
                await self._tasks.close()

    def keep(self, ticket: Ticket) -> None:
        """Lease out the blocks of a sequence that has just ended, and write down where they are."""
        sequence = ticket.sequence
        self._leases.grant(ticket.name, sequence, self._host.clock.now)
        self._granted.set()
        ticket.handover = nixl.handover(
            (self.engine_id, ticket.name, self._config.host, self._port),
            blocks=self._numbers(sequence.blocks),
            tokens=sequence.total - 1,
            cached=sequence.cached,
        )

    def expect(self, ticket: Ticket, source: Source) -> None:
        """Hold on to a submitted prompt's blocks, until the engine has room for them and they are here."""
        begun = self._begun[ticket.sequence] = asyncio.get_running_loop().create_future()
        self._fetches[ticket.sequence] = self._tasks.start("fetch", self._fetch(ticket, source, begun))

    def begin(self, sequences: Iterable[Sequence], start: float) -> None:
        """The engine has room for these since the virtual moment `start`."""
        for sequence in sequences:
            begun = self._begun.get(sequence)
            if begun is not None and not begun.done():
                begun.set_result(start)

    def give_up(self, sequence: Sequence) -> None:
        """Its client went away; of no effect when nothing is fetched for it."""
        self._begun.pop(sequence, None)
        task = self._fetches.pop(sequence, None)
        if task is not None:
            task.cancel()

    async def _fetch(self, ticket: Ticket, source: Source, begun: asyncio.Future[float]) -> None:
        sequence = ticket.sequence
        try:
            async with contextlib.AsyncExitStack() as stack:
                claim: Claim | Lost
                try:
                    claim = await sidechannel.claim(source)
                    stack.callback(claim.close)
                    # Also when the client goes away: then nobody will fetch the blocks.
                    stack.callback(claim.fetched)
                except Lost as lost:
                    claim = lost
                await self._load(ticket, claim, await begun)
        finally:
            self._begun.pop(sequence, None)
            self._fetches.pop(sequence, None)

    async def _load(self, ticket: Ticket, claim: Claim | Lost, start: float) -> None:
        """Wait until the entries are here; what fails before there was room fails now."""
        sequence, host = ticket.sequence, self._host
        try:
            if isinstance(claim, Lost):
                raise claim
            if claim.tokens < sequence.prompt_tokens:
                raise Lost(
                    f"the prefill replica keeps {claim.tokens} tokens of {sequence.prompt_tokens}: it was "
                    "sent another prompt"
                )
            seconds = self._config.seconds(sequence.external)
            await claim.hold(host.clock.left(start + seconds))
        except Lost as lost:
            log.warning("cannot fetch the KV entries of %s: %s", ticket.name, lost)
            host.telemetry.transfers.failed += 1
            recompute = self._config.recompute
            if host.engine.fetch_failed(sequence, recompute=recompute) and not recompute:
                host.fail(ticket, f"The KV entries of the prompt could not be fetched: {lost}.")
        else:
            bytes_fetched = sequence.external * self._config.bytes_per_token
            host.telemetry.count_transfer(seconds, self._config.latency_s, bytes_fetched, sequence.blocks)
            host.engine.fetched(sequence)
        host.wake()

    def _fetched_by_other(self, name: str) -> None:
        sequence = self._leases.take(name)
        if sequence is not None:
            self._host.engine.release(sequence)
            self._host.wake()

    async def _end_leases(self) -> None:
        """End leases when their time comes."""
        while True:
            self._granted.clear()
            end = self._leases.next_end
            if end is None:
                await self._granted.wait()
                continue
            await self._host.clock.until(end)
            for sequence in self._leases.expire(self._host.clock.now):
                self._host.telemetry.transfers.expired += 1
                self._host.engine.release(sequence)
                self._host.wake()

    def _numbers(self, count: int) -> list[int]:
        """Ids for that many blocks. The cache does not number its blocks; nobody reads these."""
        total = self._host.engine.config.num_blocks
        first, self._next_block = self._next_block, (self._next_block + count) % total
        return [(first + index) % total for index in range(count)]
