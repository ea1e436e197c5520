"""One engine on the wall clock: it sleeps while a step computes and then hands out the tokens.

Virtual time runs `speed` times as fast as the wall. Each step begins where the last one ended, so that late
timers do not add up; only a replica that fell far behind (a starved machine) starts its clock anew.
"""

import asyncio
import time

from bench.simulator.config import ReplicaConfig
from bench.simulator.engine import Engine, StepOutcome
from bench.simulator.exposition import Page
from bench.simulator.sequence import Sequence
from bench.simulator.telemetry import Telemetry

_FORGIVEN_S = 0.05
"""Wall seconds of lag that are caught up with; more is dropped."""


class Ticket:
    """One sequence's progress, for the handler that waits on it."""

    __slots__ = ("changed", "choices", "finished", "limit", "ready", "reason", "sequence", "watched")

    def __init__(
        self,
        sequence: Sequence,
        changed: asyncio.Event,
        *,
        reason: str = "length",
        choices: int = 1,
        limit: int = 0,
        watched: bool = True,
    ) -> None:
        """`changed` is set at the end, and at each token when `watched`."""
        self.sequence = sequence
        self.changed = changed
        self.reason = reason
        self.choices = choices
        self.limit = limit
        self.watched = watched
        self.ready = 0
        self.finished = False


class Replica:
    """A running engine. `run` drives it until cancelled."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.config = config
        self.engine = Engine(config.engine)
        self.telemetry = Telemetry(config)
        self.page = Page(config, self.engine, self.telemetry)
        self._tickets: dict[Sequence, Ticket] = {}
        self._work = asyncio.Event()
        self._origin = time.monotonic()

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return (time.monotonic() - self._origin) * self.config.speed

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket's sequence; it joins at the next step."""
        self.engine.submit(ticket.sequence, self.now)
        self._tickets[ticket.sequence] = ticket
        self._work.set()

    def abort(self, ticket: Ticket) -> None:
        """Forget a ticket; of no effect after its end. The gauges follow with the step that is under way."""
        if self._tickets.pop(ticket.sequence, None) and self.engine.abort(ticket.sequence):
            self.telemetry.count_aborted()

    async def run(self) -> None:
        """Step for ever: idle until work arrives, then one step after the other."""
        start = self.now
        while True:
            if not self.engine.busy:
                self._work.clear()
                await self._work.wait()
                start = max(start, self.now)
            outcome = self.engine.step(start)
            end = start + outcome.duration
            await self._sleep_until(end)
            self._deliver(outcome, start, end)
            late = self.now - end
            start = end if late < _FORGIVEN_S * self.config.speed else self.now

    async def _sleep_until(self, moment: float) -> None:
        """Wait for a virtual moment; at least once let others run."""
        await asyncio.sleep(max(0.0, (moment - self.now) / self.config.speed))

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
        self.telemetry.publish(self.engine)

    def _finish(self, sequence: Sequence, end: float) -> None:
        """Close a ticket; one that was given up in the last step counts as aborted."""
        ticket = self._tickets.pop(sequence, None)
        if ticket is None:
            self.telemetry.count_aborted()
            return
        ticket.finished = True
        ticket.changed.set()
        self.telemetry.count_finished(
            sequence, end, reason=ticket.reason, choices=ticket.choices, limit=ticket.limit
        )
