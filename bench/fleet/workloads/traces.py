"""What others have recorded, played faster or slower.

A trace that has fewer requests than are wanted ends sooner: what comes after it is not known.
"""

import csv
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from bench.fleet.traffic import Request, Workload
from bench.fleet.workloads.making import BLOCK, Ids, Order, ranks

MOONCAKE_BLOCK: Final = 512
TICK: Final = 3_000.0
"""Milliseconds between two times of the Mooncake trace."""
AZURE_SYSTEMS: Final = 64
AZURE_SYSTEM: Final = 512
"""Tokens of each of the beginnings that are made up."""


class _Line(msgspec.Struct):
    """One request of the Mooncake trace; milliseconds, tokens, ids of 512-token blocks."""

    timestamp: int
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


def conversation(order: Order) -> Workload:
    """A part of the Mooncake trace, so fast that the rate is met on average; each seed has a part of its own.

    Its times are whole ticks, with some ten requests that came within each: they are spread over it.
    """
    rng, decode = order.rng(), msgspec.json.Decoder(_Line).decode
    with _file(order).open("rb") as lines:
        whole = [decode(line) for line in lines]
    first = rng.randrange(max(1, len(whole) - order.requests + 1))
    read = whole[first : first + order.requests]
    times = sorted((line.timestamp - read[0].timestamp + rng.uniform(0.0, TICK)) / 1e3 for line in read)
    speed = _speed(order, times)
    return Workload.of(
        order.name,
        (
            [
                Request(
                    prompt_tokens=max(1, line.input_length),
                    output_tokens=max(1, line.output_length),
                    blocks=line.hash_ids,
                    arrival=(time - times[0]) / speed,
                )
            ]
            for line, time in zip(read, times, strict=True)
        ),
        MOONCAKE_BLOCK,
    )


def azure(order: Order) -> Workload:
    """Azure's conversation trace of 2023, which tells nothing of texts: prompts begin with one of 64 system
    prompts of 512 tokens, as far as they are long enough."""
    rng, ids = order.rng(), Ids()
    systems, weights = [ids.take(AZURE_SYSTEM) for _ in range(AZURE_SYSTEMS)], ranks(AZURE_SYSTEMS)
    with _file(order).open(encoding="utf-8") as lines:
        rows = list(islice(csv.DictReader(lines), order.requests))
    # Tenths of microseconds are more than Python reads.
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    times = [time - times[0] for time in times]
    speed = _speed(order, times)
    requests = []
    for row, time in zip(rows, times, strict=True):
        tokens = max(1, int(row["ContextTokens"]))
        system = rng.choices(systems, weights)[0][: tokens // BLOCK]
        blocks = system + ids.take(tokens - len(system) * BLOCK)
        output = max(1, int(row["GeneratedTokens"]))
        requests.append([Request(tokens, output, blocks, arrival=time / speed)])
    return Workload.of(order.name, requests, BLOCK)


def _speed(order: Order, times: list[float]) -> float:
    """How many times as fast as recorded."""
    return order.rate * max(times[-1] - times[0], 1e-9) / len(times)


def _file(order: Order) -> Path:
    if order.trace is None or not order.trace.is_file():
        raise FileNotFoundError(f"{order.name} is made from the trace {order.trace}, which is not there")
    return order.trace
