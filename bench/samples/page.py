"""The metrics page of the fake replicas: as large, and as varied, as that of a real server.

The simulator knows what vLLM says about its engine. What a real page has beside that (the interpreter, the
process, the HTTP routes) is made here: the picker has to search through all of it.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.simulator.config import EngineConfig, ReplicaConfig
from bench.simulator.exposition import Page
from bench.simulator.replica import Replica
from bench.simulator.telemetry import Gauges

MODEL: Final = "bench-model"
BLOCKS: Final = 125_000
"""Of 16 tokens: 31,250 of the 64 tokens that the picker hashes at once, its default for an endpoint."""
REQUESTS: Final = 500
"""Observed in each histogram, so that no bucket is 0 that would be full at work."""
ROUTES: Final = (
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions/render"),
    ("POST", "/v1/chat/completions/render"),
    ("POST", "/v1/responses"),
    ("POST", "/tokenize"),
    ("GET", "/v1/models"),
)
COARSE: Final = ("0.1", "0.5", "1.0", "+Inf")
FINE: Final = (
    *("0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "1.5", "2.0", "2.5", "3.0"),
    *("3.5", "4.0", "4.5", "5.0", "7.5", "10.0", "30.0", "60.0", "+Inf"),
)
"""Bounds in seconds, as the usual middleware of such servers has them."""

Sample = tuple[str, float]
"""Name with labels → value."""


def pages(count: int, seed: int, *, busy: bool) -> list[bytes]:
    """Pages with different gauges: a replica that never changes would be easier to read than a real one.

    One that is not busy runs nothing and has no queue, as real ones do.
    """
    rng = random.Random(seed)
    engine = EngineConfig(num_blocks=BLOCKS)
    replica = Replica(ReplicaConfig(model=MODEL, engine=engine, enable_lora=True, loras=("one", "two")))
    replica.telemetry.publish(replica.engine)
    _work(replica, rng)
    around = "".join((*_process(rng), *_routes(rng)))
    return [(_with_gauges(replica, rng, busy) + around).encode() for _ in range(count)]


def _work(replica: Replica, rng: random.Random) -> None:
    for each in replica.telemetry.histograms.values():
        for _ in range(REQUESTS):
            each.observe(rng.lognormvariate(0.0, 2.5))
    totals = replica.telemetry.totals
    totals.prompt_tokens, totals.cached_tokens, totals.generation_tokens = 1_914_233, 871_520, 402_117
    totals.finished["stop"] = REQUESTS


def _with_gauges(replica: Replica, rng: random.Random, busy: bool) -> str:
    """Small queues and half full caches: no replica stands out for long."""
    running, waiting = (rng.randrange(4, 12), rng.randrange(3)) if busy else (0, 0)
    replica.telemetry.gauges = Gauges(running, waiting, rng.uniform(0.4, 0.6))
    return Page([replica]).render()


# === what is not about the engine ===


def _process(rng: random.Random) -> Iterator[str]:
    for name in ("objects_collected", "objects_uncollectable", "collections"):
        per = [(f'python_gc_{name}_total{{generation="{g}"}}', rng.randrange(20_000)) for g in range(3)]
        yield _family(f"python_gc_{name}_total", "counter", "Of the garbage collector, by generation.", per)
    gauges = {
        "virtual_memory_bytes": 21.7e9,
        "resident_memory_bytes": 1.6e9,
        "start_time_seconds": 1.7e9,
        "open_fds": 71.0,
        "max_fds": 65_536.0,
    }
    for name, value in gauges.items():
        yield _family(f"process_{name}", "gauge", f"{name} of the process.", [(f"process_{name}", value)])
    for name in ("estimated_flops", "estimated_read_bytes", "estimated_write_bytes"):
        series = f'vllm:{name}_per_gpu_total{{engine="0",model_name="{MODEL}"}}'
        counted = [(series, rng.uniform(1e12, 1e15))]
        yield _family(
            f"vllm:{name}_per_gpu_total", "counter", f"{name} of each GPU since the start.", counted
        )


def _routes(rng: random.Random) -> Iterator[str]:
    """Counts, sizes and times of HTTP requests by route."""
    labels = [f'handler="{path}",method="{method}"' for method, path in ROUTES]
    total = [f'http_requests_total{{{each},status="2xx"}}' for each in labels]
    yield _counted("http_requests_total", "counter", total, rng)
    for name in ("http_request_size_bytes", "http_response_size_bytes"):
        both = [f'{name}_{part}{{handler="{path}"}}' for _, path in ROUTES for part in ("count", "sum")]
        yield _counted(name, "summary", both, rng)
        created = [f'{name}_created{{handler="{path}"}}' for _, path in ROUTES]
        yield _counted(f"{name}_created", "gauge", created, rng)
    fine, coarse = "http_request_duration_highr_seconds", "http_request_duration_seconds"
    yield _counted(fine, "histogram", _buckets(fine, "", FINE), rng)
    by_route = [series for each in labels for series in _buckets(coarse, each, COARSE)]
    yield _counted(coarse, "histogram", by_route, rng)
    created = [f"{coarse}_created{{{each}}}" for each in labels]
    yield _counted(f"{coarse}_created", "gauge", created, rng)


def _buckets(name: str, labels: str, bounds: Sequence[str]) -> list[str]:
    before = f"{labels}," if labels else ""
    rest = f"{{{labels}}}" if labels else ""
    buckets = [f'{name}_bucket{{{before}le="{bound}"}}' for bound in bounds]
    return [*buckets, f"{name}_count{rest}", f"{name}_sum{rest}"]


def _counted(name: str, kind: str, series: Iterable[str], rng: random.Random) -> str:
    """A family with any numbers."""
    text = "Of requests to the server, by handler where a handler is given; no percentile is calculated."
    return _family(name, kind, text, [(each, round(rng.lognormvariate(12.0, 3.0), 3)) for each in series])


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = "".join(f"{series} {float(value)!r}\n" for series, value in samples)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{lines}"
