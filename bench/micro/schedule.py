"""One scheduling cycle: the default profile (least work, best score) over three pools.

The gauges are fresh and show other pickers' requests, there is a prefix match at every third endpoint, and
each endpoint has some requests in flight and a pace that was learned.
"""

import random
import time
from typing import Final

import numpy as np

from bench.figures import Figure
from bench.micro.timing import Pace, cost, figure
from endpoint_picker.core.attributes import PrefixMatch, UncachedTokens, prefix_match, uncached_tokens
from endpoint_picker.core.endpoints import Candidates, Endpoint, EndpointTable, Gauges
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.core.request import Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.scheduling import handler, pickers, profile, scheduler
from endpoint_picker.scheduling.filters import roles
from endpoint_picker.scheduling.scorers.load import INFLIGHT
from endpoint_picker.scheduling.scorers.work import PrefillWork, WorkParameters

BUDGETS: Final = {10: 30.0, 100: 60.0, 1000: 200.0}
"""Endpoints → microseconds."""
BLOCKS: Final = 64
TOKENS: Final = 64 * BLOCKS


def figures(pace: Pace) -> list[Figure]:
    """The default profile, and what makes it dearer."""
    found = []
    for size, budget in BUDGETS.items():
        label, key = f"schedule, {size} endpoints", f"schedule_{size}"
        found += [
            figure(key, label, measured(size, pace), budget),
            figure(f"{key}_filtered", f"{label}, decode-filter", measured(size, pace, filtered=True)),
            figure(f"{key}_stale", f"{label}, half of them stale", measured(size, pace, stale=True)),
        ]
    return found


def measured(size: int, pace: Pace, *, filtered: bool = False, stale: bool = False) -> list[float]:
    """Microseconds of one cycle with `size` endpoints."""
    table = EndpointTable()
    wiring = Wiring(table, Metrics(), random.Random(1), time.monotonic)
    fill(table, size, stale=stale)
    cycle = scheduler.Scheduler(
        handler.Single("h", None, wiring), [default(wiring, filtered=filtered)], wiring
    )
    request = Request("r", {}, "/v1/completions", 0.0, target_model="m")
    blocks = np.where(np.arange(table.capacity) % 3 == 0, BLOCKS // 2, 0)
    match = PrefixMatch(blocks, BLOCKS, 64)
    request.attributes.write(prefix_match(), match)
    request.attributes.write(uncached_tokens(INFLIGHT), UncachedTokens(TOKENS, match, 0))
    return cost(lambda: cycle.schedule(request, Candidates(table, table.live, 0.0)), pace)


def fill(table: EndpointTable, size: int, *, stale: bool = False) -> None:
    """A pool with gauges and loads that differ from one to the next."""
    ledger = Ledger(table)
    table.replace(Endpoint(f"pod-{i}", f"10.0.{i >> 8}.{i & 255}", 8000) for i in range(size))
    random_ = random.Random(size)
    for row in table.live.tolist():
        for _ in range(random_.randrange(8)):
            ledger.reserve(row, prefill_tokens=TOKENS // 2, prompt_tokens=TOKENS)
        gauges = Gauges(waiting=random_.randrange(50), running=8, kv_usage=random_.random())
        table.observe(row, gauges, -100.0 if stale and row % 2 else 0.0)


def default(wiring: Wiring, *, filtered: bool) -> profile.WeightedProfile:
    """The default profile, wired by hand."""
    work = PrefillWork("work", WorkParameters(), wiring)
    for row in wiring.table.live.tolist():
        work.pace.computed(row, TOKENS, since=-1.0, now=0.1 * (row % 7))
    picker = pickers.MaxScore("max", pickers.Most(), wiring)
    decode = roles.Decode("d", None, wiring)
    return profile.WeightedProfile(
        "default",
        wiring,
        filters=[profile.Keeping("d", decode.type, decode)] if filtered else [],
        scorers=[profile.Scoring("work", work.type, work, 1.0)],
        picker=profile.Picking("max", picker.type, picker),
    )
