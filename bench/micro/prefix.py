"""Prefix matching: hashing, the index with its lookups, inserts and memory, then the producers as a request
meets them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from bench.figures import Figure
from bench.micro.timing import SIDE, Pace, cost, cost_of_each, figure
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
ENDPOINTS: Final = 100
LOOKUP_BUDGET: Final = 300.0
BLOCK_BUDGET: Final = 64.0
"""Bytes."""
NEW_PROMPTS: Final = 300


def figures(pace: Pace) -> list[Figure]:
    """All of it; quickly: without an index whose prompts share their beginnings."""
    rng = np.random.default_rng(7)
    found = hashing(rng, pace)
    for shared in (0,) if pace.quick else (0, BLOCKS // 2):
        found += index(rng, shared, pace)
    return [
        *found,
        *producers(rng, pace, endpoints=10, size=2_000),
        *producers(rng, pace, endpoints=100, size=400_000),
    ]


def hashing(rng: np.random.Generator, pace: Pace) -> list[Figure]:
    """Both sizes of prompts."""
    found = []
    for size in (2_000, 400_000):
        micros = cost(partial(block_hashes, np.frombuffer(rng.bytes(size), "<u4"), 64, 1), pace)
        found.append(figure(f"hash_{size // 1000}k", f"hash a prompt of {size // 1000} KB", micros))
    return found


# === the index ===


def index(rng: np.random.Generator, shared: int, pace: Pace) -> list[Figure]:
    """A full index for prompts that share this many blocks."""
    filled, common = ApproximateIndex(), _random(rng, shared)
    prompts = _prompts(rng, common, 1 if pace.quick else 2)
    latest = common

    def inserts() -> Iterator[Callable[[], object]]:
        nonlocal latest
        for turn, latest in enumerate(prompts):
            yield partial(filled.insert, turn % ENDPOINTS, latest, CAPACITY)

    inserted = cost_of_each(inserts(), pace)
    # Of two passes, the first fills and the second evicts.
    steady = inserted if pace.quick else inserted[len(inserted) // 2 :]
    key, label = f"index_{shared}", f"index, {shared} of {BLOCKS} blocks shared:"
    size = filled.statistics()
    again = cost(partial(filled.insert, ENDPOINTS - 1, latest, CAPACITY), pace)
    bytes_a_block = {SIDE: [size.bytes / size.held]}
    return [
        figure(f"{key}_insert", f"{label} insert a new prompt", steady),
        figure(f"{key}_again", f"{label} insert it again", again),
        Figure(f"{key}_bytes", f"{label} memory a block", "B", bytes_a_block, BLOCK_BUDGET),
        *_lookups(rng, filled, latest, key, label, pace),
    ]


def _prompts(rng: np.random.Generator, common: Hashes, times: int) -> Iterator[Hashes]:
    """New prompts, as many as fill every endpoint so many times."""
    own = BLOCKS - len(common)
    for _ in range(times * (CAPACITY // own + 1) * ENDPOINTS):
        yield np.concatenate([common, _random(rng, own)])


def _lookups(
    rng: np.random.Generator, filled: ApproximateIndex, latest: Hashes, key: str, label: str, pace: Pace
) -> list[Figure]:
    """A prompt that one endpoint holds, half of one, a new one, and one of which all hold different parts."""
    spread = _random(rng, BLOCKS)
    for row in range(ENDPOINTS):
        filled.insert(row, spread[: BLOCKS * (row + 1) // ENDPOINTS], CAPACITY)
    asked = {
        "known": latest,
        "half_known": np.concatenate([latest[: BLOCKS // 2], _random(rng, BLOCKS - BLOCKS // 2)]),
        "new": _random(rng, BLOCKS),
        "spread": spread,
    }
    titles = {
        "known": "look up a known prompt",
        "half_known": "look up a half known one",
        "new": "look up a new one",
        "spread": "look up one held in parts",
    }
    return [
        figure(
            f"{key}_{name}",
            f"{label} {titles[name]}",
            cost(partial(filled.match, prompt, rows=ENDPOINTS), pace),
            LOOKUP_BUDGET,
        )
        for name, prompt in asked.items()
    ]


# === the producers ===


def producers(rng: np.random.Generator, pace: Pace, *, endpoints: int, size: int) -> list[Figure]:
    """produce() and learn() of all three, for new prompts and for one that everybody knows."""
    serve = _server(endpoints)
    fresh = [rng.bytes(size) for _ in range(NEW_PROMPTS)]
    new = cost_of_each((partial(serve, each, i % endpoints) for i, each in enumerate(fresh)), pace)
    for row in range(endpoints):
        serve(fresh[0], row)
    known = cost(partial(serve, fresh[0], 0), pace)
    key, label = f"producers_{size // 1000}k", f"producers, {size // 1000} KB, {endpoints} endpoints:"
    return [
        figure(f"{key}_new", f"{label} a new prompt", new),
        figure(f"{key}_known", f"{label} one known everywhere", known),
    ]


def _server(endpoints: int) -> Callable[[bytes, int], None]:
    """What the producers do for one prompt that goes to one row."""
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

    return serve


def _random(rng: np.random.Generator, blocks: int) -> Hashes:
    return rng.integers(0, 2**64, blocks, dtype=np.uint64)
