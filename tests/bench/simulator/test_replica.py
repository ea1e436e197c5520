"""A replica on the wall clock, without HTTP."""

import asyncio
from dataclasses import replace

from bench.simulator.replica import Replica
from bench.simulator.sequence import Sequence
from bench.simulator.tickets import Ticket
from tests.fakes.simulated import SMALL


def ticket() -> Ticket:
    return Ticket(sequence=Sequence(64, 20), changed=asyncio.Event())


async def test_the_page_does_not_show_who_came_during_the_step_that_it_tells_of() -> None:
    """As the real engine: it takes what has come in between two steps, and tells at the end of the next."""
    one_at_a_time = replace(SMALL, speed=1.0, engine=replace(SMALL.engine, max_num_seqs=1, fixed_s=0.02))
    replica = Replica(one_at_a_time)
    telemetry, seen = replica.telemetry, list[tuple[int, int]]()

    async def watch(tokens: int) -> None:
        while telemetry.totals.generation_tokens < tokens:
            await asyncio.sleep(0)
            seen.append((telemetry.totals.generation_tokens, telemetry.gauges.waiting))

    async with replica.running():
        first, second, third = ticket(), ticket(), ticket()
        replica.submit(first)
        await watch(2)  # the third step is being computed
        replica.submit(second)
        replica.submit(third)
        replica.abort(third)
        await watch(5)
        replica.abort(second)
        await watch(7)
    waiting = dict(seen)
    assert [waiting[tokens] for tokens in range(1, 8)] == [0, 0, 0, 1, 1, 0, 0]
