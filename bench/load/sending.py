"""Sends a workload by its schedule, whatever has come back: an open loop.

A request of a conversation is due when the answer before it has ended and its thinking time is over. How late
it was really sent is written down: that is the generator's own doing, and no figure of the server's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import aiohttp

from bench.fleet.picker import SESSION_HEADER
from bench.fleet.text import TOKEN_BYTES
from bench.fleet.traffic import Request, Session, Workload
from bench.load import texts
from bench.load.record import Record
from bench.load.stream import Answer, Flaw, Kind, ask
from bench.load.target import Target

_CONNECT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a workload is sent."""

    speed: float = 1.0
    """How many times as fast its times pass."""
    concurrency: int = 4096
    """Requests that may wait for answers at most; one that is due beyond is not sent."""
    max_tokens: int = 0
    """Of an answer at most; 0: as the workload has it."""
    token_bytes: int = TOKEN_BYTES
    """Text for a token of a prompt."""
    timeout: float = 600.0
    """Seconds for a whole answer."""


@asynccontextmanager
async def client(timeout: float = _CONNECT_SECONDS) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections without a bound; seconds for a whole answer."""
    connector = aiohttp.TCPConnector(limit=0)
    limits = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, _CONNECT_SECONDS))
    async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=True) as session:
        yield session


class Sending:
    """One workload on its way to one server. Its records grow while `run` lasts."""

    def __init__(self, workload: Workload, target: Target, pace: Pace) -> None:
        self.records: list[Record] = []
        self.in_flight = self.most_in_flight = self.errors = 0
        self.total = len(workload)
        self.started = 0.0
        """By `perf_counter`."""
        self.schedule = max(_length(session) for session in workload.sessions) / pace.speed
        """Seconds until the last request is due, if all answers came at once."""
        self.cut_off = 0
        """Requests that were under way when `run` was cancelled."""
        self._workload, self._target, self._pace = workload, target, pace

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started if self.started else 0.0

    async def run(self) -> None:
        """Send all; ends with the last answer. Cancelled, it gives up what is under way."""
        self.started = perf_counter()
        async with client(self._pace.timeout) as session, asyncio.TaskGroup() as talks:
            for talk in sorted(self._workload.sessions, key=lambda each: each[0].arrival):
                await self._until(talk[0].arrival / self._pace.speed)
                talks.create_task(self._talk(session, talk))

    async def _until(self, due: float) -> None:
        """Seconds after the start."""
        await asyncio.sleep(max(0.0, due - self.elapsed))

    async def _talk(self, session: aiohttp.ClientSession, talk: Session) -> None:
        """One request after the other; one that fails ends no conversation."""
        text = texts.Talk(self._workload.block_tokens, self._pace.token_bytes)
        due, said = talk[0].arrival / self._pace.speed, ""
        for turn, request in enumerate(talk):
            if turn:
                due = self.elapsed + request.think / self._pace.speed
                await self._until(due)
            answer = await self._send(session, request, text.ask(request, said))
            said = "" if answer.flaw else answer.text
            self._note(Record.of(request, answer, due, self.started))

    async def _send(self, session: aiohttp.ClientSession, request: Request, parts: list[str]) -> Answer:
        if self.in_flight >= self._pace.concurrency:
            told = f"{self.in_flight} requests were waiting already"
            return Answer(perf_counter(), flaw=Flaw(Kind.UNSENT, told))
        target, pace = self._target, self._pace
        wanted = min(request.output_tokens, pace.max_tokens or request.output_tokens)
        model = request.adapter or target.model
        body = texts.body(target.api, parts, model, wanted, dict[str, Any](target.extra))
        headers = {"content-type": "application/json", **target.headers}
        if request.session:
            headers[SESSION_HEADER] = request.session
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await ask(session, target.url, body, headers)
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        finally:
            self.in_flight -= 1

    def _note(self, record: Record) -> None:
        self.records.append(record)
        self.errors += record.flaw is not None


def _length(session: Session) -> float:
    return session[0].arrival + sum(request.think for request in session[1:])
