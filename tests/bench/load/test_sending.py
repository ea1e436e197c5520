import asyncio
import contextlib
import json
import time
from dataclasses import replace
from typing import Any

from bench.fleet.picker import SESSION_HEADER
from bench.fleet.traffic import Workload
from bench.load.record import Record
from bench.load.sending import Pace, Sending
from bench.load.stream import Kind
from bench.load.target import Target, address
from tests.fakes.raw_server import answering, whole
from tests.fakes.simulated import replica
from tests.fakes.virtual import BLOCK, request, singles, stream

REFUSED = whole("503 No", b"")


def target(url: str, **fields: Any) -> Target:
    return Target(base=address(url), model="tiny", **fields)


async def sent(workload: Workload, where: Target, **pace: Any) -> Sending:
    sending = Sending(workload, where, Pace(**pace))
    await sending.run()
    return sending


def by_number(sending: Sending) -> list[Record]:
    return sorted(sending.records, key=lambda record: record.number)


async def test_a_workload_is_served() -> None:
    async with replica() as server:
        sending = await sent(singles(*stream(20, every=0.01)), target(server.url))
    assert (len(sending.records), sending.errors, sending.in_flight) == (20, 0, 0)
    for number, record in enumerate(by_number(sending)):
        assert (record.number, record.flaw, record.status) == (number, None, 200)
        assert record.due == number * 0.01
        assert (record.prompt_tokens, record.planned_tokens, record.output_tokens) == (160, 160, 20)
        assert 0.0 < record.ttft <= record.whole


async def test_nobody_is_waited_for() -> None:
    """A server that does not answer gets all requests nevertheless."""
    async with answering(b"", hang=True) as (url, asked):
        sending = await sent(singles(*stream(30, every=0.001)), target(url), timeout=0.5)
    assert sending.most_in_flight == len(asked) == 30
    assert {record.flaw.kind for record in sending.records if record.flaw} == {Kind.TIMEOUT}


async def test_what_is_due_beyond_the_bound_is_not_sent() -> None:
    async with answering(b"", hang=True) as (url, asked):
        sending = await sent(singles(*stream(30, every=0.001)), target(url), timeout=0.5, concurrency=10)
    kinds = [record.flaw.kind for record in by_number(sending) if record.flaw]
    assert kinds == [Kind.TIMEOUT] * 10 + [Kind.UNSENT] * 20
    assert (len(asked), sending.most_in_flight, sending.errors) == (10, 10, 30)


async def test_conversations_wait_for_their_answers_and_think() -> None:
    talk = [request(64, 8), request(128, 8, think=0.4), request(192, 8, think=0.2)]
    workload = Workload.of("test", [talk], BLOCK)
    async with answering(REFUSED) as (url, asked):
        sending = await sent(workload, target(url), speed=2.0)
    first, second, third = sending.records
    assert len(asked) == 3
    assert second.due >= first.due + first.whole + 0.2
    assert third.due >= second.due + second.whole + 0.1


async def test_a_conversation_finds_its_own_answers_in_the_cache() -> None:
    talk = [request(320, 64), request(640, 8)]
    async with replica() as server:
        sending = await sent(Workload.of("test", [talk], BLOCK), target(server.url))
    assert [record.cached_tokens for record in sending.records] == [0, 352]


async def test_prefixes_are_shared_as_in_the_virtual_fleet() -> None:
    async with replica() as server:
        one, other = request(320, 4), replace(request(320, 4, at=0.5, first=900), blocks=())
        other = replace(other, blocks=(*one.blocks[:12], *range(900, 909)))
        sending = await sent(singles(one, other), target(server.url))
    assert [record.cached_tokens for record in sending.records] == [0, 12 * BLOCK]


async def test_what_a_request_carries() -> None:
    adapted = replace(request(64, 50, adapter="mine"), session="s-1")
    where = ("base", [[adapted], [request(64, 50, at=0.05, first=500)]], BLOCK)
    async with answering(REFUSED) as (url, asked):
        aim = target(url, api="chat", headers={"x-team": "blue"}, extra={"ignore_eos": True})
        await sent(Workload.of(*where), aim, max_tokens=20)
    heads, bodies = zip(*(each.split(b"\r\n\r\n", 1) for each in asked), strict=True)
    assert all(b"x-team: blue" in head and b"application/json" in head for head in heads)
    assert [f"{SESSION_HEADER}: s-1".encode() in head for head in heads] == [True, False]
    assert all(head.startswith(b"POST /v1/chat/completions ") for head in heads)
    fields = [json.loads(body) for body in bodies]
    assert [each["model"] for each in fields] == ["mine", "tiny"]
    assert {(each["max_tokens"], each["ignore_eos"]) for each in fields} == {(20, True)}


async def test_a_run_that_is_cancelled_keeps_what_it_has() -> None:
    late = request(64, 8, at=60.0, first=800)
    async with answering(REFUSED, b"", hang=True) as (url, asked):
        sending = Sending(
            singles(request(64, 8), request(64, 8, at=0.1, first=400), late), target(url), Pace()
        )
        run = asyncio.create_task(sending.run())
        while len(asked) < 2:
            await asyncio.sleep(0.01)
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
    assert run.cancelled()
    assert (len(sending.records), sending.cut_off, sending.in_flight) == (1, 1, 0)


async def test_how_late_a_request_was_is_told() -> None:
    """By the clock of the schedule: here the loop is held up by somebody."""
    async with replica() as server:
        sending = Sending(singles(*stream(2, every=0.1)), target(server.url), Pace())
        run = asyncio.create_task(sending.run())
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # noqa: ASYNC251
        await run
    first, second = by_number(sending)
    assert second.late >= 0.2
    assert first.late < second.late
