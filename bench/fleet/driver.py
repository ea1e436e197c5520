"""The loop over events: `simulate` runs one workload on one fleet with one policy.

Everything happens at virtual times and by one seed: the same arguments give the same outcome, to the last
digit, in whatever process.
"""

import heapq
from collections.abc import Callable
from random import Random
from typing import Any, Final

from bench.fleet import roster, text
from bench.fleet.fleet import Fleet, Incident
from bench.fleet.handovers import Handovers
from bench.fleet.notes import Notes
from bench.fleet.outcome import Fate, Outcome
from bench.fleet.policy import PolicySpec, World
from bench.fleet.replica import Job, Replica
from bench.fleet.traffic import Request, Workload
from bench.simulator.sequence import Sequence
from endpoint_picker.core.errors import Refusal

_REMEMBERED: Final = 1.1
"""Intervals of scraping for which replicas remember what their pages showed."""
_TOO_LONG: Final = 400
_UNREACHABLE: Final = 503


def simulate(fleet: Fleet, workload: Workload, policy: PolicySpec, seed: int) -> Outcome:
    """Run until the last answer has ended.

    Raises ConfigError when the policy's configuration is wrong, ValueError where engines cannot name the
    workload's blocks.

    The seed is that of the run (which picker gets a request, what policies leave to chance); a workload has
    been made by one of its own.
    """
    run = Run(fleet, workload, policy, seed)
    run.play()
    return run.notes.outcome(policy.name, run.replicas)


class Run:
    """Replicas, pickers, and what is to happen next."""

    def __init__(self, fleet: Fleet, workload: Workload, policy: PolicySpec, seed: int) -> None:
        self._fleet, self._workload = fleet, workload
        sizes = {engine.block_size for engine in fleet.engines if workload.block_tokens % engine.block_size}
        if sizes:
            raise ValueError(
                f"engines have blocks of {min(sizes)} tokens; it must divide the {workload.block_tokens} "
                f"tokens of a block of the workload {workload.name}"
            )
        horizon = _REMEMBERED * fleet.scrape_interval
        there = set(fleet.begins_with)
        self.replicas = [
            Replica(number, config, horizon=horizon, alive=number in there)
            for number, config in enumerate(fleet.engines)
        ]
        self.world = World(self.replicas, workload.block_tokens, fleet.event_delay)
        self._rng = Random(f"{seed}/run")
        self.pickers = roster.make(policy, fleet, self.world, seed)
        self._handovers = Handovers(self, fleet.transfer)
        self.notes = Notes(workload, fleet.engines[0])
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        """(time, order of events at the same time, what happens, to whom)."""
        self._order = 0
        self._armed = [-1] * len(self.replicas)
        """The turn of each replica whose end is among the events."""
        self._places = [(session, turn) for session in workload.sessions for turn in range(len(session))]
        """Request → its conversation, and its place there."""

    def play(self) -> None:
        self._tell_members()
        for session in self._workload.sessions:
            self.at(session[0].arrival, self._arrive, session[0])
        for incident in self._fleet.incidents:
            self.at(incident.at, self._happen, incident)
        while self._events:
            self.world.now, _, act, whom = heapq.heappop(self._events)
            act(whom)

    def at(self, time: float, act: Callable[[Any], None], whom: object) -> None:
        """Let something happen then, to somebody."""
        heapq.heappush(self._events, (time, self._order, act, whom))
        self._order += 1

    # === requests ===

    def _arrive(self, request: Request) -> None:
        now = self.world.now
        self.notes.arrived(request, now)
        picker = self._rng.randrange(len(self.pickers)) if len(self.pickers) > 1 else 0
        try:
            number = self.pickers[picker].choose(request)
        except Refusal:
            self._over(request, Fate.REFUSED)
            return
        self.notes.sent(request, number)
        replica, source = self.replicas[number], self.pickers[picker].prefiller(request)
        job = Job(request, self.sequence(request, replica), picker)
        if source is not None:
            self._handovers.begin(job, self.replicas[source], replica)
            return
        status = self.submit(job, replica)
        if status:
            self.fail(job, status)

    def submit(self, job: Job, replica: Replica) -> int:
        """Let a replica serve it; answers 0, or the status of HTTP with which it is refused."""
        if not replica.alive:
            return _UNREACHABLE
        try:
            replica.submit(job, self.world.now)
        except ValueError:  # larger than the engine's whole cache
            return _TOO_LONG
        self.arm(replica)
        return 0

    def sequence(self, request: Request, replica: Replica) -> Sequence:
        """The request as that one's engine sees it."""
        hashes = text.hashes(request, self._workload.block_tokens, replica.config.block_size)
        return Sequence(request.prompt_tokens, request.output_tokens, hashes, request.adapter)

    def fail(self, job: Job, status: int) -> None:
        """Its client gets this status of HTTP; 0: its answer breaks off."""
        self.pickers[job.picker].failed(job.request, status)
        self._over(job.request, Fate.FAILED)

    def _over(self, request: Request, fate: Fate) -> None:
        """Whatever came of it, the conversation goes on: each policy gets the same requests."""
        self.notes.over(request, fate)
        session, turn = self._places[request.number]
        if turn + 1 < len(session):
            self.at(self.world.now + session[turn + 1].think, self._arrive, session[turn + 1])

    # === replicas ===

    def arm(self, replica: Replica) -> None:
        """See that the end of its run is among the events, and that of the transfers that it begins."""
        while replica.fetching:
            self._handovers.fetch(replica.fetching.pop(0))
        if replica.next is not None and self._armed[replica.number] != replica.turn:
            self._armed[replica.number] = replica.turn
            self.at(replica.next, self._proceed, (replica, replica.turn))

    def _proceed(self, whom: tuple[Replica, int]) -> None:
        replica, turn = whom
        if replica.turn != turn:
            return
        now = self.world.now
        ended = replica.proceed()
        for job in ended.started:
            if not self._handovers.concerns(job):
                self.notes.started(job, now)
                self.pickers[job.picker].first_token(job.request)
        for job in ended.finished:
            if self._handovers.concerns(job):
                self.notes.prefilled(self._handovers.computed(job), replica.number)
                continue
            self.notes.finished(job, now)
            self.pickers[job.picker].end(job.request, job.served)
            self._over(job.request, Fate.SERVED)
        self.arm(replica)

    def _happen(self, incident: Incident) -> None:
        replica, now = self.replicas[incident.replica], self.world.now
        if incident.what == "slows":
            replica.slow(incident.factor, now)
            self.arm(replica)
        elif incident.what == "joins":
            replica.revive(now)
            self._tell_members()
        else:
            for job in replica.die(now):
                if not self._handovers.died_with(job):
                    self.fail(job, 0 if self.notes.has_started(job.request) else _UNREACHABLE)
            self.at(now + self._fleet.detection, self._miss, replica)

    def _miss(self, replica: Replica) -> None:
        if not replica.alive:
            self._tell_members()

    def _tell_members(self) -> None:
        members = [replica.number for replica in self.replicas if replica.alive]
        for picker in self.pickers:
            picker.members(members)
