"""Many streams for long, and one that nobody reads: `make bench-soak`, or `python -m bench.soak`.

2,000 clients read server-sent events through the real Envoy and the picker for five minutes; meanwhile one
more client asks for a fast stream, does not read it for a minute, and then reads it to its end. What must
hold: no error, memory that stays as it was after the first minute, and no more of it for the sleeper than
the buffers of one stream. Written to `bench/results/soak.json`.
"""

import argparse
import asyncio
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench import results
from bench.overhead import ground, meter
from bench.overhead.load import EVENT, Job, Outcome
from bench.overhead.replicas import stream_header
from bench.processes import Failed, end_on_signals

LOGS: Final = results.FOLDER / "soak"
REPLICAS: Final = 4
GAP: Final = 1.0
"""Seconds between two events of a stream."""
WARM_UP: Final = 5.0
SAMPLE_SECONDS: Final = 1.0
SETTLED: Final = 0.2
"""Share of the time after which memory must stay: one minute of five."""
OPEN_FILES: Final = 16_384
SLEEPER_GAP: Final = 0.0005
SLEEPER_AFTER: Final = 0.3
"""Share of the time after which the sleeper asks."""
READ_SECONDS: Final = 120.0
BODY: Final = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
SLEEPER_MIB: Final = 8.0
"""What it may cost: the buffer and the window of a stream, a MiB each, in the picker and again in what its
allocator keeps, and what 2,000 other streams add to and fro meanwhile."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at a moment."""

    second: float
    picker_mib: float
    envoy_mib: float


@dataclass(frozen=True, slots=True)
class Nap:
    """What became of the stream that was not read."""

    seconds: float
    """How long it was not read."""
    events: int
    """Of those asked for, how many came in the end."""
    asked: int
    growth_mib: float
    """Most memory that the picker took meanwhile, over what it had before."""


async def soak(streams: int, seconds: float, console: Console) -> int:
    """Run, print, write; answers the exit code."""
    end_on_signals()
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    samples: list[Sample] = []
    async with (
        ground.fleet(LOGS, REPLICAS) as fleet,
        ground.sides(LOGS, ground.TRANSPORTS[:1], fleet.replicas) as sides,
    ):
        (side,) = sides
        job = Job(
            port=side.envoy.port,
            pattern="streams",
            connections=streams,
            gap=GAP,
            warm_up=WARM_UP,
            seconds=seconds,
            seed=ground.SEED,
            watched=side.watched,
        )
        watching = asyncio.ensure_future(watch(side, seconds + WARM_UP, samples, console))
        napping = asyncio.ensure_future(nap(side, seconds, samples))
        outcome = await fleet.load.run(job)
        slept = await napping
        await watching
    return report(streams, outcome, slept, samples, console)


async def watch(side: ground.Side, seconds: float, samples: list[Sample], console: Console) -> None:
    """Take a sample now and then, and show how far it is."""
    columns = (TextColumn("{task.description:<46}"), BarColumn(40), TimeRemainingColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("soaking", total=seconds)
        while (passed := time.perf_counter() - started) < seconds:
            pids = side.watched
            picker, envoy = (meter.resident_mib(pids[name]) for name in ("picker", "envoy"))
            samples.append(Sample(passed, picker, envoy))
            shown = f"soaking; picker {picker:.0f} MiB, Envoy {envoy:.0f} MiB"
            progress.update(task, completed=passed, description=shown)
            await asyncio.sleep(SAMPLE_SECONDS)


async def nap(side: ground.Side, seconds: float, samples: list[Sample]) -> Nap:
    """Ask for a fast stream, do not read it for a fifth of the time, then read it all."""
    await asyncio.sleep(WARM_UP + SLEEPER_AFTER * seconds)
    asleep = 0.2 * seconds
    asked = round(asleep / SLEEPER_GAP)
    before = samples[-1].picker_mib
    address = f"http://127.0.0.1:{side.envoy.port}/v1/chat/completions"
    name, _, value = stream_header(asked, SLEEPER_GAP).partition(": ")
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(read_bufsize=1024, timeout=timeout) as client,
        client.post(address, json=BODY, headers={name: value}) as response,
    ):
        await asyncio.sleep(asleep)
        since = samples[-1].second - asleep
        most = max(sample.picker_mib for sample in samples if sample.second >= since)
        events = await _count_events(response.content)
    return Nap(asleep, events, asked, most - before)


async def _count_events(content: aiohttp.StreamReader) -> int:
    events, seam = 0, b""
    async with asyncio.timeout(READ_SECONDS):
        async for data in content.iter_any():
            events += (seam + data).count(EVENT)
            seam = data[1 - len(EVENT) :]
    return events


def report(streams: int, outcome: Outcome, slept: Nap, samples: list[Sample], console: Console) -> int:
    """Table, file and verdict."""
    settled = [each for each in samples if each.second >= SETTLED * samples[-1].second]
    # Away from the sleeper's time, whose memory is judged by itself.
    early, late = settled[0].picker_mib, settled[-1].picker_mib
    expected = outcome.seconds * streams / GAP
    # The last two events of a stream are its usage and its end.
    verdicts = {
        f"{streams:,} streams for {outcome.seconds:.0f} s: errors": (outcome.errors, outcome.errors == 0),
        "events that came, of those due": (
            f"{outcome.events / expected:.4f}",
            outcome.events >= 0.99 * expected,
        ),
        "picker's memory after the first fifth, MiB": (f"{early:.1f}", True),
        "picker's memory at the end, MiB": (f"{late:.1f}", late <= early * 1.05 + 2.0),
        f"sleeper, {slept.seconds:.0f} s: memory, MiB": (
            f"{slept.growth_mib:.1f}",
            slept.growth_mib <= SLEEPER_MIB,
        ),
        "sleeper: events missing in the end": (
            max(0, slept.asked - slept.events),
            slept.events >= slept.asked,
        ),
    }
    table = Table("", "seen", "", title="soak")
    for what, (seen, holds) in verdicts.items():
        table.add_row(what, str(seen), "" if holds else "[red]does not hold")
    console.print(table)
    document = {
        "machine": results.machine(),
        "streams": streams,
        "figures": {what: seen for what, (seen, _) in verdicts.items()},
        "samples": [[round(each.second, 1), each.picker_mib, each.envoy_mib] for each in samples],
    }
    console.print(f"written to {results.write('soak', document)}")
    return 0 if all(holds for _, holds in verdicts.values()) else 1


def _open_files() -> None:
    """A connection is a file on each side of each process, and children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--streams", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (default: 300)")
    flags: Any = parser.parse_args()
    _open_files()
    try:
        return asyncio.run(soak(flags.streams, flags.seconds, Console()))
    except Failed as error:
        print(f"bench-soak: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
