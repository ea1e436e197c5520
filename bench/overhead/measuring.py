"""The measurements: each a job for the load generator, or a look at a process."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from bench.overhead import meter
from bench.overhead.ground import Fleet, Side
from bench.overhead.load import Job, Outcome
from bench.processes import ROOT

Traffic = Literal["closed", "paced", "streams", "long"]

TRAFFIC: Final[dict[Traffic, dict[str, Any]]] = {
    # Small requests, as fast as they are answered.
    "closed": {"pattern": "closed", "connections": 32},
    # Small requests at a modest rate, so that each wakes everybody on its way. Connections enough for
    # a machine that stands still for a second.
    "paced": {"pattern": "open", "connections": 256, "rate": 200.0},
    # 50 events a second and stream, 3,200 together, which leaves room on both cores.
    "streams": {"pattern": "streams", "connections": 64, "gap": 0.02},
    # Prompts of 400 KB, a few at a time.
    "long": {"pattern": "closed", "connections": 4, "prompts": "long"},
}
IMPORT: Final = (
    "import time; begin = time.perf_counter(); import endpoint_picker.cli; print(time.perf_counter() - begin)"
)
IMPORT_SECONDS: Final = 60.0
"""More than any import takes."""


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that each measurement counts, and how often all are taken."""

    rounds: int = 3
    warm_up: float = 0.5
    closed: float = 2.5
    paced: float = 4.0
    streams: float = 2.5
    long: float = 2.5
    idle: float = 2.5


FULL: Final = Lengths()
QUICK: Final = Lengths(rounds=1, warm_up=0.4, closed=1.5, paced=3.0, streams=2.0, long=1.5, idle=2.0)


async def take(fleet: Fleet, side: Side, traffic: Traffic, lengths: Lengths, seed: int) -> Outcome:
    """Send this traffic through one side."""
    job = Job(
        port=side.envoy.port,
        warm_up=lengths.warm_up,
        seconds=getattr(lengths, traffic),
        seed=seed,
        watched=side.watched | {"replicas": fleet.pid},
        **TRAFFIC[traffic],
    )
    return await fleet.load.run(job)


async def idle(sides: Sequence[Side], seconds: float) -> list[float]:
    """Cores that each picker takes while nobody asks it anything, all of them over the same time."""
    pids = {side.name: side.picker_pid for side in sides}
    before, started = meter.cpu_of_all(pids), time.perf_counter()
    await asyncio.sleep(seconds)
    after, took = meter.cpu_of_all(pids), time.perf_counter() - started
    return [(after[name] - before[name]) / took for name in pids]


async def seconds_to_import() -> float:
    """What `import endpoint_picker.cli` takes in a fresh interpreter."""
    command = (sys.executable, "-c", IMPORT)
    run = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, check=True, cwd=ROOT, timeout=IMPORT_SECONDS
    )
    return float(run.stdout)
