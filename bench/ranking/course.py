"""What is run, and one policy's run in either world: in virtual time, and in HTTP through the real Envoy."""

import asyncio
import resource
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Final

import numpy as np
from rich.console import Console

from bench import envoys, ground
from bench.fleet import workloads
from bench.fleet.driver import simulate
from bench.fleet.fleet import ENGINE, Fleet, slowed, uniform
from bench.fleet.outcome import Fate, Objective
from bench.fleet.policy import PolicySpec
from bench.fleet.traffic import Workload
from bench.ground import MODEL, Programs, folder_of
from bench.load.progress import shown
from bench.load.record import Record
from bench.load.sending import Pace, Sending
from bench.load.target import Target, address
from bench.ranking.verdict import Sample
from bench.simulator.config import EngineConfig

ROUND_ROBIN: Final = "round-robin"
_CONFIGURED: Final = {"max_loras", "seed", "jitter"}
"""Of the engine, what the replicas' command is not told: no adapters, no chance."""
_REST_SECONDS: Final = 1.0
OBJECTIVE: Final = Objective(ttft=2.0, tpot=0.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The same for every policy and both worlds; seconds of the wall clock."""

    workload: str = "shared-prefix"
    requests: int = 500
    rate: float = 6.0
    seed: int = 1
    most_tokens: int = 120
    """Of an answer: each costs the CPU of Envoy, picker, replica and client, and routing hardly sees it."""
    replicas: int = 8
    slow: float = 3.0
    """How many times as long as usual a step of an engine takes: two cores do the work of eight replicas."""
    scrape_interval: float = 0.2
    objective: Objective = OBJECTIVE
    traces_at: Path

    def made(self) -> Workload:
        """The requests. Raises FileNotFoundError without the trace of a workload that is made from one."""
        whole = workloads.make(
            self.workload, rate=self.rate, requests=self.requests, seed=self.seed, traces_at=self.traces_at
        )
        if any(len(session) > 1 for session in whole.sessions):
            raise ValueError(
                f"{self.workload} has conversations; those ask later where they are served slowly"
            )
        shorter = (
            [replace(turn, output_tokens=min(turn.output_tokens, self.most_tokens)) for turn in session]
            for session in whole.sessions
        )
        return Workload.of(whole.name, shorter, whole.block_tokens)

    def engine(self) -> EngineConfig:
        return slowed(ENGINE, self.slow)

    def fleet(self) -> Fleet:
        return replace(uniform(self.replicas, self.engine()), scrape_interval=self.scrape_interval)


def virtual(course: Course, workload: Workload, policy: PolicySpec) -> Sample:
    """Raises ConfigError when the policy's configuration is wrong."""
    outcome = simulate(course.fleet(), workload, policy, course.seed)
    served = outcome.fate == Fate.SERVED
    summary = outcome.summary(goodput=course.objective)
    return Sample(
        ttft=np.where(served, outcome.ttft, np.nan),
        good=outcome.within(course.objective).astype(float),
        hit_rate=summary.hit_rate,
        facts={"failed": int((~served).sum()), "balance": summary.balance},
    )


async def real(
    course: Course, workload: Workload, policy: PolicySpec, parent: Path, console: Console
) -> Sample:
    """Fresh replicas behind a fresh Envoy, with the policy's picker.

    Raises Failed when one of them does not start.
    """
    began, cpu = monotonic(), _cpu()
    async with folder_of(parent, policy.name) as programs:
        url = await _stack(course, policy, programs)
        await asyncio.sleep(_REST_SECONDS)  # the picker has read every replica's page
        pace = Pace(timeout=600.0)
        sending = Sending(workload, Target(base=address(url), model=MODEL), pace)
        async with shown(sending, console):
            await sending.run()
    cores = (_cpu() - cpu) / (monotonic() - began)
    return _sample(sending.records, course.objective, cores)


async def _stack(course: Course, policy: PolicySpec, programs: Programs) -> str:
    """Where to send requests."""
    replicas = await programs.replicas(course.replicas, *engine_flags(course.engine()))
    if policy.name == ROUND_ROBIN:
        return await programs.envoy(envoys.round_robin(replicas))
    flags = [f"--refresh-metrics-interval={course.scrape_interval}s"]
    if policy.config:
        file = programs.folder / "config.yaml"
        file.write_text(policy.config, encoding="utf-8")
        flags.append(f"--config-file={file}")
    picker = await programs.picker(replicas, *flags)
    return (await ground.behind(programs, picker, replicas, replicas)).url


def engine_flags(engine: EngineConfig) -> list[str]:
    """Of the replicas' command."""
    named = [field.name for field in fields(EngineConfig) if field.name not in _CONFIGURED]
    return [f"--{name.replace('_', '-')}={getattr(engine, name)}" for name in named]


def _sample(records: Sequence[Record], objective: Objective, cores: float) -> Sample:
    """By the requests' numbers."""
    by_number = sorted(records, key=lambda record: record.number)
    served = [record for record in by_number if record.flaw is None]
    prompt = sum(record.prompt_tokens or 0 for record in served)
    late = [record.late for record in by_number]
    facts: dict[str, Any] = {
        "failed": len(by_number) - len(served),
        "complaints": sorted({record.flaw.told for record in by_number if record.flaw})[:5],
        "late_p99": float(np.percentile(late, 99)),
        "cores": cores,
    }
    return Sample(
        ttft=np.array([np.nan if record.flaw else record.ttft for record in by_number]),
        good=np.array([float(record.within(objective)) for record in by_number]),
        hit_rate=sum(record.cached_tokens or 0 for record in served) / max(1, prompt),
        facts=facts,
    )


def _cpu() -> float:
    """Seconds of this process, and of all programs that it has started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime
