"""Every plugin of the catalog that looks at endpoints: one call, over three pools.

Beside the figures stands how the cost grows from 100 endpoints to 1,000: ten times would be linear, a
hundred times quadratic.
"""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

import numpy as np

from bench.figures import Figure
from bench.micro.schedule import fill
from bench.micro.timing import SIDE, Pace, cost, figure
from endpoint_picker.catalog import TABLE
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import PrefixMatch, TokenizedPrompt
from endpoint_picker.core.endpoints import Candidates, EndpointTable
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.plugin import Plugin
from endpoint_picker.producers.tokens import tokens_of
from endpoint_picker.testing import NOW, make, request_with
from endpoint_picker.testing.examples import PARAMETERS

SIZES: Final = (10, 100, 1000)
MOST_GROWTH: Final = 20.0
"""From 100 endpoints to 1,000; far from the hundred of a quadratic one, and no verdict of a noisy moment."""
PROMPT: Final = b"The same beginning for all of them. " * 60
BLOCKS: Final = 32

Call = Callable[[Any, Request, Candidates], object]
METHODS: Final[dict[str, Call]] = {
    "keep": lambda plugin, request, candidates: plugin.keep(request, candidates),
    "score": lambda plugin, request, candidates: plugin.score(request, candidates),
    "screen": lambda plugin, request, candidates: plugin.screen(request, candidates),
    "admit": lambda plugin, request, candidates: plugin.admit(request, candidates),
    "saturation": lambda plugin, request, candidates: plugin.saturation(candidates),
    "produce": lambda plugin, request, candidates: plugin.produce(request, candidates),
    "pick": lambda plugin, request, candidates: plugin.pick(
        request, candidates, candidates.table.kv_usage[candidates.rows]
    ),
}
"""Extension points at which endpoints are looked at."""


def figures(pace: Pace) -> list[Figure]:
    """A row for each call and pool, and one for its growth."""
    return [row for name in sorted(TABLE) for method in METHODS for row in _of(name, method, pace)]


def _of(name: str, method: str, pace: Pace) -> Iterator[Figure]:
    if not hasattr(TABLE[name], method):
        return
    micros = {size: measured(name, method, size, pace) for size in SIZES}
    for size, values in micros.items():
        yield figure(f"{name}_{method}_{size}", f"{name}: {method}, {size} endpoints", values)
    growth = median(micros[1000]) / median(micros[100])
    yield Figure(f"{name}_{method}_growth", "  1,000 endpoints ÷ 100", "times", {SIDE: [growth]}, MOST_GROWTH)


def measured(name: str, method: str, size: int, pace: Pace) -> list[float]:
    """Microseconds of one call."""
    table = EndpointTable(stale_after=1000.0)
    fill(table, size)
    plugin: Plugin = make(TABLE[name], table, **PARAMETERS.get(name, {}))
    request, candidates = request_for(table), table.candidates(NOW)
    call = METHODS[method]
    return cost(lambda: call(plugin, request, candidates), pace)


def request_for(table: EndpointTable) -> Request:
    """One with all facts that are written in this version."""
    size = len(table)
    counts = list(range(size))
    request = request_with(
        table, match=[i % BLOCKS for i in counts], total=BLOCKS, requests=counts, tokens=counts, cost=counts
    )
    request.payload = Payload(model="m", prompts=(PROMPT,))
    tokens = tokens_of(PROMPT)
    request.attributes.write(attributes.tokenized_prompt(), TokenizedPrompt((tokens,), len(tokens)))
    blocks = np.arange(table.capacity, dtype=np.int64) % BLOCKS
    request.attributes.write(attributes.prefix_match(), PrefixMatch(blocks, BLOCKS, 64))
    return request
