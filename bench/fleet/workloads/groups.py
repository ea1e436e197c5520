"""Single requests: those of a group begin alike."""

from collections.abc import Iterator
from itertools import islice
from random import Random

from bench.fleet.traffic import Request, Workload
from bench.fleet.workloads.making import BLOCK, Ids, Order, about, poisson, pulsing, ranks

GROUPS = 150
SYSTEM = 6016
"""Tokens that a group has in common; a multiple of the block."""
QUESTION, ANSWER = 1200, 500
"""Medians."""


def shared_prefix(order: Order) -> Workload:
    """150 groups with 6,000 tokens in common each, asked for evenly: more than a replica's cache, less than a
    fleet's (the shape that llm-d publishes figures for)."""
    rng = order.rng()
    return _grouped(order, rng, poisson(rng, order.rate))


def bursts(order: Order) -> Workload:
    """The same groups; of each minute the first six seconds are ten times as dense."""
    rng = order.rng()
    return _grouped(order, rng, pulsing(rng, order.rate, times=10.0, share=0.1, period=60.0))


def lora(order: Order) -> Workload:
    """A dozen adapters, a few of which get most requests; those of one have 1,500 tokens in common."""
    rng, ids = order.rng(), Ids()
    names = [f"adapter-{number}" for number in range(12)]
    systems = {name: ids.take(24 * BLOCK) for name in names}
    chosen = iter(lambda: rng.choices(names, ranks(len(names)))[0], None)
    times = poisson(rng, order.rate)
    return Workload.of(
        order.name,
        (
            [_request(rng, ids, systems[name], time, question=500, answer=200, adapter=name)]
            for name, time in zip(chosen, islice(times, order.requests), strict=False)
        ),
        BLOCK,
    )


def reasoning(order: Order) -> Workload:
    """Questions of some 500 tokens after one of four short system prompts; answers of thousands."""
    rng, ids = order.rng(), Ids()
    systems = [ids.take(4 * BLOCK) for _ in range(4)]
    return Workload.of(
        order.name,
        (
            [_request(rng, ids, rng.choice(systems), time, question=500, answer=3000)]
            for time in islice(poisson(rng, order.rate), order.requests)
        ),
        BLOCK,
    )


def unshared(order: Order) -> Workload:
    """Prompts of some 4,000 tokens that nobody has ever sent before."""
    rng, ids = order.rng(), Ids()
    return Workload.of(
        order.name,
        (
            [_request(rng, ids, (), time, question=4000, answer=250)]
            for time in islice(poisson(rng, order.rate), order.requests)
        ),
        BLOCK,
    )


def _grouped(order: Order, rng: Random, times: Iterator[float]) -> Workload:
    ids = Ids()
    systems = [ids.take(SYSTEM) for _ in range(GROUPS)]
    return Workload.of(
        order.name,
        (
            [_request(rng, ids, rng.choice(systems), time, question=QUESTION, answer=ANSWER)]
            for time in islice(times, order.requests)
        ),
        BLOCK,
    )


def _request(
    rng: Random,
    ids: Ids,
    system: tuple[int, ...],
    time: float,
    *,
    question: int,
    answer: int,
    adapter: str = "",
) -> Request:
    asked = about(rng, question, spread=0.5, most=30_000)
    return Request(
        prompt_tokens=len(system) * BLOCK + asked,
        output_tokens=about(rng, answer, spread=0.6, most=16_000),
        blocks=system + ids.take(asked),
        arrival=time,
        adapter=adapter,
    )
