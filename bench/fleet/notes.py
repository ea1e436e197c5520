"""What is written down of each request while a run goes on."""

import math
from collections.abc import Sequence

import numpy as np

from bench.fleet.fleet import prefill_seconds
from bench.fleet.outcome import Fate, Outcome
from bench.fleet.replica import Job, Replica
from bench.fleet.traffic import Request, Workload
from bench.simulator.config import EngineConfig


class Notes:
    """Lists by the requests' numbers: to write to an array one by one takes twice as long."""

    def __init__(self, workload: Workload, engine: EngineConfig) -> None:
        requests = list(workload)
        count = len(requests)
        self._prompts = [request.prompt_tokens for request in requests]
        self._outputs = [request.output_tokens for request in requests]
        self._own = [prefill_seconds(engine, tokens) for tokens in self._prompts]
        self._arrivals = [math.nan] * count
        self._fates = [int(Fate.FAILED)] * count
        self._replicas = [-1] * count
        self._prefillers = [-1] * count
        self._firsts = [math.nan] * count
        """Times of first tokens."""
        self._tpots = [math.nan] * count
        self._longest = [math.nan] * count
        self._cached = [0] * count
        self._duration = 0.0

    def arrived(self, request: Request, now: float) -> None:
        self._arrivals[request.number] = now

    def sent(self, request: Request, replica: int) -> None:
        self._replicas[request.number] = replica

    def prefilled(self, request: Request, replica: int) -> None:
        self._prefillers[request.number] = replica

    def started(self, job: Job, now: float) -> None:
        self._firsts[job.request.number] = now
        self._cached[job.request.number] = job.cached

    def has_started(self, request: Request) -> bool:
        return not math.isnan(self._firsts[request.number])

    def finished(self, job: Job, now: float) -> None:
        number, tokens = job.request.number, job.request.output_tokens
        self._tpots[number] = (now - self._firsts[number]) / (tokens - 1) if tokens > 1 else 0.0
        self._longest[number] = job.longest_gap
        self._duration = now

    def over(self, request: Request, fate: Fate) -> None:
        self._fates[request.number] = int(fate)

    def outcome(self, policy: str, replicas: Sequence[Replica]) -> Outcome:
        """All of it."""
        arrival = np.array(self._arrivals)
        return Outcome(
            policy=policy,
            fate=np.array(self._fates, np.int64),
            replica=np.array(self._replicas, np.int64),
            arrival=arrival,
            ttft=np.array(self._firsts) - arrival,
            tpot=np.array(self._tpots),
            longest_gap=np.array(self._longest),
            prompt_tokens=np.array(self._prompts, np.int64),
            output_tokens=np.array(self._outputs, np.int64),
            cached_tokens=np.array(self._cached, np.int64),
            own_prefill=np.array(self._own),
            gaps=np.sum([replica.gaps.counts for replica in replicas], axis=0),
            busy=np.array([replica.busy for replica in replicas]),
            duration=self._duration,
            prefiller=np.array(self._prefillers, np.int64),
        )
