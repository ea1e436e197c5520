"""Cost of prefix matching: hashing, lookup, insert and memory, then the producers as a request meets them.

Run with `python -m bench.micro.prefix`; `--quick` leaves out the full index (3.1 million blocks).
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.kvindex.approximate import ApproximateIndex
from endpoint_picker.kvindex.hashing import Hashes, block_hashes
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.producers.inflight import InFlight, InFlightParameters
from endpoint_picker.producers.prefix_approx import ApproximatePrefix, PrefixParameters
from endpoint_picker.producers.tokens import TokenEstimate, TokenParameters

BLOCKS: Final = 1562
"""Blocks of a prompt of 400 KB, 64 estimated tokens each."""
CAPACITY: Final = 31250
"""Blocks an endpoint, the default."""
RNG: Final = np.random.default_rng(7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the full index")
    arguments = parser.parse_args()
    table = Table("what", "median µs", "99 % µs", "longest µs", title="prefix matching")
    hashing(table)
    producers(table, endpoints=10, size=2_000)
    producers(table, endpoints=100, size=400_000)
    notes = [] if arguments.quick else [index(table, shared) for shared in (0, BLOCKS // 2)]
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"largest resident memory of this process: {peak:.0f} MiB")


def hashing(table: Table) -> None:
    for size in (2_000, 400_000):
        tokens = np.frombuffer(RNG.bytes(size), "<u4")
        times = _times(lambda tokens=tokens: block_hashes(tokens, 64, 1), 300)  # type: ignore[misc]
        _row(table, f"hash a prompt of {size // 1000} KB", times)


def index(table: Table, shared: int) -> str:
    """Fill an index for 100 endpoints with prompts that share this many blocks, then measure."""
    filled, endpoints = ApproximateIndex(), 100
    common = _random(shared)
    latest = common
    times = []
    for turn in range(2 * CAPACITY // (BLOCKS - shared) * endpoints):
        latest = np.concatenate([common, _random(BLOCKS - shared)])
        times += _times(lambda: filled.insert(turn % endpoints, latest, CAPACITY), 1)  # noqa: B023
    label = f"100 endpoints, {shared} of {BLOCKS} blocks shared:"
    _row(table, f"{label} insert a new prompt", times[len(times) // 2 :])
    row = turn % endpoints
    _row(table, f"{label} insert it again", _times(lambda: filled.insert(row, latest, CAPACITY), 300))
    _row(table, f"{label} look up a known prompt", _times(lambda: filled.match(latest, rows=endpoints), 300))
    half = np.concatenate([latest[: BLOCKS // 2], _random(BLOCKS - BLOCKS // 2)])
    _row(table, f"{label} look up a half known one", _times(lambda: filled.match(half, rows=endpoints), 300))
    absent = _random(BLOCKS)
    _row(table, f"{label} look up a new one", _times(lambda: filled.match(absent, rows=endpoints), 300))
    size = filled.statistics()
    return (
        f"{label} {size.held:,} blocks held ({size.blocks:,} different), {size.bytes / 2**20:.0f} MiB, "
        f"{size.bytes / size.held:.1f} B for each block of each endpoint"
    )


def producers(table: Table, *, endpoints: int, size: int) -> None:
    """produce() and learn() of all three, for new prompts and for one that everybody knows."""
    fleet = EndpointTable()
    fleet.replace(Endpoint(f"pod-{i}", f"10.0.{i // 250}.{i % 250}", 8000) for i in range(endpoints))
    wiring = Wiring(fleet, Metrics())
    prefix = ApproximatePrefix("approx-prefix-cache-producer", PrefixParameters(), wiring)
    plugins = (
        TokenEstimate("token-producer", TokenParameters(), wiring),
        prefix,
        InFlight("inflight-load-producer", InFlightParameters(), wiring),
    )

    def serve(prompt: bytes, row: int) -> None:
        request = Request("1", {}, "/v1/completions", 0.0, payload=Payload(model="m", prompts=(prompt,)))
        candidates = fleet.candidates(0.0)
        for plugin in plugins:
            plugin.produce(request, candidates)
        picked = ProfileResult("default", (row,), (fleet[row],), candidates.rows, np.zeros(endpoints))
        prefix.learn(request, Decision(picked, {"default": picked}))

    label = f"producers, {size // 1000} KB, {endpoints} endpoints:"
    fresh = [RNG.bytes(size) for _ in range(300)]
    times = [_times(lambda: serve(prompt, i % endpoints), 1)[0] for i, prompt in enumerate(fresh)]  # noqa: B023
    _row(table, f"{label} new prompt", times)
    for row in range(endpoints):
        serve(fresh[0], row)
    _row(table, f"{label} known everywhere", _times(lambda: serve(fresh[0], 0), 300))


def _random(blocks: int) -> Hashes:
    return RNG.integers(0, 2**64, blocks, dtype=np.uint64)


def _times(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


def _row(table: Table, label: str, seconds: list[float]) -> None:
    micros = np.array(seconds) * 1e6
    figures = (np.median(micros), np.percentile(micros, 99), micros.max())
    table.add_row(label, *(f"{figure:,.0f}" for figure in figures))


if __name__ == "__main__":
    main()
