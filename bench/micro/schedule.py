"""CPU time of one scheduling cycle, without any I/O: `python -m bench.micro.schedule`.

The default profile (queue 2, KV cache 2, prefix 3, best total) runs over pools of three sizes, with fresh
gauges and a prefix match at every third endpoint; the budgets are those of the design.
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from endpoint_picker.core.attributes import PrefixMatch, prefix_match
from endpoint_picker.core.endpoints import Candidates, Endpoint, EndpointTable, Gauges
from endpoint_picker.core.request import Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.scheduling import filters, handler, pickers, profile, scheduler
from endpoint_picker.scheduling.scorers import load, prefix

BUDGETS: Final = {10: 30.0, 100: 60.0, 1000: 200.0}
"""Endpoints → microseconds."""
BLOCKS: Final = 64


def main() -> None:
    """Measure and print."""
    flags = argparse.ArgumentParser(description="CPU time of one scheduling cycle")
    flags.add_argument("--seconds", type=float, default=0.3, help="for each of five runs; the best counts")
    seconds = flags.parse_args().seconds
    shown = Table(title="scheduling, µs of CPU per request")
    for column in ("endpoints", "default profile", "with decode-filter", "half of it stale", "budget"):
        shown.add_column(column, justify="right")
    for size, budget in BUDGETS.items():
        figures = [
            measured(size, seconds),
            measured(size, seconds, filtered=True),
            measured(size, seconds, stale=True),
        ]
        shown.add_row(str(size), *(f"{figure:.1f}" for figure in figures), f"{budget:.0f}")
    Console().print(shown)


def measured(size: int, seconds: float, *, filtered: bool = False, stale: bool = False) -> float:
    """Microseconds of one cycle with `size` endpoints."""
    table = EndpointTable()
    wiring = Wiring(table, Metrics(), random.Random(1), time.monotonic)
    fill(table, size, stale=stale)
    cycle = scheduler.Scheduler(
        handler.Single("h", None, wiring), [default(wiring, filtered=filtered)], wiring
    )
    request = Request("r", {}, "/v1/completions", 0.0, target_model="m")
    blocks = np.where(np.arange(table.capacity) % 3 == 0, BLOCKS // 2, 0)
    request.attributes.write(prefix_match(), PrefixMatch(blocks, BLOCKS, 64))
    return best_of(lambda: cycle.schedule(request, Candidates(table, table.live, 0.0)), seconds)


def fill(table: EndpointTable, size: int, *, stale: bool) -> None:
    """A pool with gauges that differ from one to the next."""
    table.replace(Endpoint(f"pod-{i}", f"10.0.{i >> 8}.{i & 255}", 8000) for i in range(size))
    random_ = random.Random(size)
    for row in table.live.tolist():
        gauges = Gauges(waiting=random_.randrange(50), running=8, kv_usage=random_.random())
        table.observe(row, gauges, -100.0 if stale and row % 2 else 0.0)


def default(wiring: Wiring, *, filtered: bool) -> profile.WeightedProfile:
    """The default profile, wired by hand."""
    queue, usage = load.Queue("q", None, wiring), load.KvUsage("kv", None, wiring)
    prefixes = prefix.PrefixCache("p", prefix.PrefixParameters(), wiring)
    picker = pickers.MaxScore("max", pickers.Most(), wiring)
    decode = filters.Decode("d", None, wiring)
    return profile.WeightedProfile(
        "default",
        wiring,
        filters=[profile.Keeping("d", decode.type, decode)] if filtered else [],
        scorers=[
            profile.Scoring("q", queue.type, queue, 2.0),
            profile.Scoring("kv", usage.type, usage, 2.0),
            profile.Scoring("p", prefixes.type, prefixes, 3.0),
        ],
        picker=profile.Picking("max", picker.type, picker),
    )


def best_of(call: Callable[[], object], seconds: float) -> float:
    """Microseconds of CPU a call, the best of five runs of about this long."""
    best = float("inf")
    for _ in range(5):
        calls, started = 0, time.process_time()
        while (spent := time.process_time() - started) < seconds or not calls:
            for _ in range(100):
                call()
            calls += 100
        best = min(best, spent / calls)
    return best * 1e6


if __name__ == "__main__":
    main()
