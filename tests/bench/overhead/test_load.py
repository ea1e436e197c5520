"""The load generator and the fake replicas understand each other, without anything between them."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from bench.overhead import replicas
from bench.overhead.load import Job, Outcome, Run
from bench.processes import page


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of one replica."""
    (server,) = await replicas.listen(1)
    with contextlib.closing(server):
        yield replicas.port_of(server)


async def outcome(port: int, **fields: object) -> Outcome:
    job = {"connections": 3, "warm_up": 0.02, "seconds": 0.2, "seed": 1, "watched": {}, **fields}
    return await Run(Job(port=port, **job)).outcome()  # type: ignore[arg-type]


async def test_a_closed_loop_is_answered(port: int) -> None:
    counted = await outcome(port, pattern="closed")
    assert counted.requests > 3
    assert (counted.errors, counted.events) == (0, 0)
    assert 0.0 < counted.latency_ms["p50"] <= counted.latency_ms["p99"]


async def test_an_open_loop_keeps_its_rate(port: int) -> None:
    counted = await outcome(port, pattern="open", rate=100.0)
    assert 10 <= counted.requests <= 30
    assert counted.errors == 0


async def test_streams_bring_events_and_no_ends(port: int) -> None:
    counted = await outcome(port, pattern="streams", gap=0.02)
    assert 3 * 5 <= counted.events <= 3 * 15
    assert (counted.requests, counted.errors) == (0, 0)


async def test_long_prompts_arrive(port: int) -> None:
    counted = await outcome(port, pattern="closed", prompts="long")
    assert counted.requests > 3
    assert counted.errors == 0


async def test_the_metrics_page_is_served(port: int) -> None:
    assert "vllm:num_requests_waiting" in await page(f"http://127.0.0.1:{port}/metrics")
