"""One engine on the wall clock: it sleeps while a step computes and then hands out the tokens.

Virtual time runs `speed` times as fast as the wall. Each step begins where the last one ended, so that late
timers do not add up; only a replica that fell far behind (a starved machine) starts its clock anew.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from bench.simulator.clock import Clock
from bench.simulator.config import ReplicaConfig
from bench.simulator.connector import Connector
from bench.simulator.engine import Engine, StepOutcome
from bench.simulator.sequence import Sequence
from bench.simulator.telemetry import Telemetry
from bench.simulator.tickets import Ticket
from endpoint_picker.aio import Tasks

_FORGIVEN_S = 0.05
"""Wall seconds of lag that are caught up with; more is dropped."""


class Replica:
    """An engine that steps while `running` lasts."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.config = config
        self.clock = Clock(config.speed)
        self.engine = Engine(config.engine)
        self.telemetry = Telemetry(config)
        self.connector = Connector(config.transfer, self) if config.transfer else None
        self._tickets: dict[Sequence, Ticket] = {}
        self._unseen: set[Sequence] = set()
        """Came while the step that runs was computed: the engine looks at its inbox between steps only."""
        self._work = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Step for as long as the block lasts; OSError when the connector's port is taken."""
        tasks = Tasks()
        async with self.connector.running() if self.connector else contextlib.nullcontext():
            tasks.start("replica", self._run())
            try:
                yield
            finally:
                await tasks.close()

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket's sequence; it joins at the next step."""
        sequence = ticket.sequence
        sequence.fetch = self.connector is not None and ticket.source is not None
        self.engine.submit(sequence, self.clock.now)
        self._tickets[sequence] = ticket
        self._unseen.add(sequence)
        if self.connector and ticket.source:
            self.connector.expect(ticket, ticket.source)
        self.wake()

    def abort(self, ticket: Ticket) -> None:
        """Forget a ticket; of no effect after its end. The gauges follow with the step that is under way."""
        sequence = ticket.sequence
        if self._tickets.pop(sequence, None) is None:
            return
        self._unseen.discard(sequence)
        if self.connector:
            self.connector.give_up(sequence)
        if self.engine.abort(sequence):
            self.telemetry.count_aborted()
            self.wake()

    def wake(self) -> None:
        """There may be work for the engine."""
        self._work.set()

    def fail(self, ticket: Ticket, reason: str) -> None:
        """Close a ticket whose sequence the engine has given up."""
        self._unseen.discard(ticket.sequence)
        if self._tickets.pop(ticket.sequence, None) is not None:
            self.telemetry.count_failed()
            ticket.failure, ticket.finished = reason, True
            ticket.changed.set()

    async def _run(self) -> None:
        """Step for ever: idle until work arrives, then one step after the other."""
        start = self.clock.now
        while True:
            while not self.engine.busy:
                self.telemetry.publish(self.engine)
                self._work.clear()
                await self._work.wait()
                start = max(start, self.clock.now)
            self._unseen.clear()
            outcome = self.engine.step(start)
            if self.connector:
                self.connector.begin(outcome.fetching, start)
            end = start + outcome.duration
            await self.clock.until(end)
            self._deliver(outcome, start, end)
            late = self.clock.now - end
            start = end if late < _FORGIVEN_S * self.config.speed else self.clock.now

    def _deliver(self, outcome: StepOutcome, start: float, end: float) -> None:
        """Publish what a step did at its end."""
        self.telemetry.count_step(outcome, start, end)
        tickets = self._tickets
        for batch in (outcome.started, outcome.decoded):
            for sequence in batch:
                ticket = tickets.get(sequence)
                if ticket is not None:
                    ticket.ready += 1
                    if ticket.watched:
                        ticket.changed.set()
        for sequence in outcome.finished:
            self._finish(sequence, end)
        self.telemetry.publish(self.engine, unseen=len(self._unseen))

    def _finish(self, sequence: Sequence, end: float) -> None:
        """Close a ticket; one that was given up in the last step counts as aborted."""
        ticket = self._tickets.pop(sequence, None)
        if ticket is None:
            self.telemetry.count_aborted()
            self.engine.release(sequence)
            return
        if self.connector and sequence.keep:
            self.connector.keep(ticket)
        ticket.finished = True
        ticket.changed.set()
        self.telemetry.count_finished(
            sequence, end, reason=ticket.reason, choices=ticket.choices, limit=ticket.limit
        )
