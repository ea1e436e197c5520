"""The configuration changes under traffic, again and again, and every second time to something broken."""

import asyncio
import signal
from pathlib import Path

from bench.overhead.meter import resident_mib
from tests.fakes.stack import BY_QUEUE, Building, Stack

RELOADS = 100
GAP = 1 / 200
GOOD = BY_QUEUE.replace("MOST", "1")
OTHER = GOOD.replace("queue-scorer", "active-request-scorer")
BROKEN = GOOD.replace("schedulingProfiles", "schedulingProfile")
SETTLED = 20
"""Reloads after which memory must stay: caches are full by then."""


async def keep_asking(gateway: Stack, failed: list[str], done: asyncio.Event) -> int:
    """200 requests a second, until it is over; answers how many there were."""
    asked = 0
    async with asyncio.TaskGroup() as group:
        while not done.is_set():
            group.create_task(ask(gateway, failed))
            asked += 1
            await asyncio.sleep(GAP)
    return asked


async def ask(gateway: Stack, failed: list[str]) -> None:
    try:
        answer = await gateway.ask()
    except Exception as error:
        failed.append(repr(error))
        return
    if answer.status != 200:
        failed.append(f"{answer.status} {answer.body!r}")


async def reloads(gateway: Stack, **labels: str) -> float:
    return await gateway.picker.sum_of("llm_d_epp_config_reloads_total", **labels)


async def test_no_request_is_lost_and_nothing_leaks(stack: Building, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD)
    failed: list[str] = []
    async with stack(tmp_path, config_file=file) as gateway:
        process = gateway.picker.process
        assert process is not None
        done = asyncio.Event()
        asking = asyncio.create_task(keep_asking(gateway, failed, done))
        memory = []
        for number in range(RELOADS):
            file.write_text(BROKEN if number % 2 else (OTHER if number % 4 else GOOD))
            before = await reloads(gateway)
            process.signal(signal.SIGHUP)
            while await reloads(gateway) == before:
                await asyncio.sleep(0.01)
            memory.append(resident_mib(process.pid))
        done.set()
        assert await asking >= RELOADS
        assert failed == []
        for result in ("success", "failure"):
            assert await reloads(gateway, result=result) >= RELOADS / 2 - 1
        await gateway.settles(0, gateway.in_flight)
        assert memory[-1] - memory[SETTLED] < 8.0, memory
