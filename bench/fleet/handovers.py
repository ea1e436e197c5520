"""Prompts that one replica computes and another one decodes, and what becomes of them if either dies.

The way is that of a proxy beside the engine that decodes: it has the prompt computed, for one token, then
gives its own engine the request, and where the blocks are. That one fetches them once it has room, and until
then they are kept; if nobody can fetch them any more, their lease has to end. A transfer takes the seconds
that `TransferConfig` says. A prompt that nobody has computed is computed where it is decoded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bench.fleet.policy import Policy, World
from bench.fleet.replica import Job, Replica
from bench.fleet.traffic import Request
from bench.simulator.config import TransferConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Sequence as EngineSequence

_LOST: Final = 500


class Host(Protocol):
    """What goes on around."""

    world: World
    pickers: Sequence[Policy]

    def at(self, time: float, act: Callable[[Any], None], whom: object) -> None:
        """Something happens then."""

    def arm(self, replica: Replica) -> None:
        """Something has happened to it."""

    def sequence(self, request: Request, replica: Replica) -> EngineSequence:
        """The request as that one's engine sees it."""

    def submit(self, job: Job, replica: Replica) -> int:
        """0, or the status of HTTP with which it is refused."""

    def fail(self, job: Job, status: int) -> None:
        """That is all its client gets."""


@dataclass(slots=True, eq=False)
class Handover:
    """One prompt."""

    prompt: Job
    """Its computation."""
    answer: Job
    source: Replica
    engine: Engine
    """The source's, which has forgotten everything if it has another one since."""
    target: Replica

    @property
    def lost(self) -> bool:
        """Whether nobody has its blocks any more."""
        return not self.source.alive or self.source.engine is not self.engine


class Handovers:
    """All that are under way."""

    def __init__(self, host: Host, config: TransferConfig) -> None:
        self._host, self._config = host, config
        self._computing: dict[Job, Handover] = {}
        """By the job at the source."""
        self._kept: dict[Job, Handover] = {}
        """By the job at the target: those whose prompts are computed, and not fetched yet."""

    def begin(self, answer: Job, source: Replica, target: Replica) -> None:
        """Have a job's prompt computed at the source; the target gets the job afterwards."""
        sequence = self._host.sequence(answer.request, source)
        sequence.output_tokens, sequence.keep = 1, True
        prompt = Job(answer.request, sequence, answer.picker)
        handover = Handover(prompt, answer, source, source.engine, target)
        if self._host.submit(prompt, source):
            self._alone(handover)
        else:
            self._computing[prompt] = handover

    def concerns(self, job: Job) -> bool:
        """Whether it is but the computation of a prompt, and its tokens are nobody's."""
        return job in self._computing

    def computed(self, prompt: Job) -> Request:
        """That has ended: the target goes on; answers whose prompt it was."""
        handover = self._computing.pop(prompt)
        answer, host = handover.answer, self._host
        answer.elsewhere, answer.sequence.fetch = prompt.sequence, True
        host.pickers[answer.picker].prefilled(answer.request)
        self._kept[answer] = handover
        status = host.submit(answer, handover.target)
        if status:
            self._leave(answer)
            host.fail(answer, status)
        return answer.request

    def fetch(self, answer: Job) -> None:
        """The target has room for it since now."""
        handover = self._kept[answer]
        if handover.lost:
            self._miss(handover)
            return
        seconds = self._config.seconds(answer.sequence.external)
        self._host.at(self._host.world.now + seconds, self._fetched, handover)

    def died_with(self, job: Job) -> bool:
        """Its replica died; answers whether the request goes on all the same."""
        if job in self._computing:
            self._alone(self._computing.pop(job))
            return True
        if job in self._kept:
            self._leave(job)
        return False

    def _fetched(self, handover: Handover) -> None:
        answer, now = handover.answer, self._host.world.now
        if answer not in self._kept:
            return  # the target died in the meantime
        if handover.lost:
            self._miss(handover)
            return
        self._expire(self._kept.pop(answer))
        handover.target.fetched(answer, now)
        self._host.arm(handover.target)

    def _miss(self, handover: Handover) -> None:
        """Its blocks are gone."""
        answer = self._kept.pop(handover.answer).answer
        recompute = self._config.recompute
        answer.elsewhere = None
        handover.target.not_fetched(answer, self._host.world.now, recompute=recompute)
        self._host.arm(handover.target)
        if not recompute:
            self._host.fail(answer, _LOST)

    def _alone(self, handover: Handover) -> None:
        """Nobody computes its prompt for the target."""
        answer, host = handover.answer, self._host
        host.pickers[answer.picker].not_prefilled(answer.request)
        status = host.submit(answer, handover.target)
        if status:
            host.fail(answer, status)

    def _leave(self, answer: Job) -> None:
        """Nobody comes for its blocks any more."""
        now = self._host.world.now
        self._host.at(now + self._config.lease_s, self._expire, self._kept.pop(answer))

    def _expire(self, handover: Handover) -> None:
        """The source need not keep the blocks any longer."""
        if not handover.lost:
            handover.source.release(handover.prompt.sequence, self._host.world.now)
            self._host.arm(handover.source)
