"""The load generator: `python -m bench.overhead.load` takes jobs and tells what came of them.

A program of its own, so that its CPU time is not the picker's. It reads the clocks of the watched processes
itself, at the very moments when its counting begins and ends. Prints `listening IP:PORT`; each line of
JSON that comes over a connection there is a job, and is answered with a line of JSON, its outcome.
"""

import asyncio
import math
import os
import time
from collections import deque
from typing import Any, Final, Literal

import msgspec
import numpy as np
import uvloop

from bench.overhead import meter
from bench.overhead.http1 import Message
from bench.overhead.replicas import port_of, stream_header
from bench.samples.prompts import Bodies, Kind

LAST_ANSWERS_SECONDS: Final = 10.0
EVENT: Final = b"data: "
PERCENTILES: Final = (50, 99)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and whom to watch."""

    port: int
    """Of Envoy, on loopback."""
    prompts: Kind = "small"
    pattern: Literal["closed", "open", "streams"]
    """closed: each connection asks again as soon as it is answered. open: at the given rate, whatever
    comes back. streams: each connection reads one long stream."""
    connections: int
    """Open: how many may be waiting at most."""
    rate: float = 0.0
    """Requests a second."""
    gap: float = 0.0
    """Seconds between two events of a stream."""
    warm_up: float
    """Seconds before the counting begins."""
    seconds: float
    seed: int
    watched: dict[str, int]
    """Name → process id."""


class Outcome(msgspec.Struct, kw_only=True):
    """What was counted in the window."""

    seconds: float
    requests: int
    events: int
    errors: int
    """Answers other than 200, broken connections, and requests for which no connection was free."""
    latency_ms: dict[str, float]
    """p50 and p99; a request counts from the moment when it was sent."""
    cpu: dict[str, float]
    """Seconds of each watched process."""


class Connection(asyncio.Protocol):
    """One keep-alive connection to Envoy."""

    def __init__(self, run: "Run") -> None:
        self.asked_at = 0.0
        self._run = run
        self._answer = Message()
        self._seam = b""
        """The last bytes, where an event's mark may have begun."""
        self._transport: Any = None

    def ask(self, request: bytes) -> None:
        self.asked_at = time.perf_counter()  # the loop's own clock counts milliseconds
        self._transport.write(request)

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._run.lost()

    def data_received(self, data: bytes) -> None:
        self._run.events += (self._seam + data).count(EVENT)
        self._seam = data[1 - len(EVENT) :]
        if self._answer.feed(data):
            ok, self._answer = self._answer.head.startswith(b"HTTP/1.1 200 "), Message()
            self._run.answered(self, ok=ok)


class Run:
    """One job."""

    def __init__(self, job: Job) -> None:
        self.events = 0
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._bodies = Bodies(job.prompts, job.seed, stream=job.pattern == "streams")
        self._jitter = np.random.default_rng(job.seed)
        self._head = _head(job)
        self._free: deque[Connection] = deque()
        self._latencies: list[float] = []
        self._errors = 0
        self._ended = False

    async def outcome(self) -> Outcome:
        """Send, count for the given time, and let the last answers come."""
        job = self._job
        for _ in range(job.connections):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), "127.0.0.1", job.port
            )
            self._free.append(connection)
        connections = list(self._free)
        self._begin()
        await asyncio.sleep(job.warm_up)
        counted = await self._count()
        self._ended = True
        await self._last_answers()
        for connection in connections:
            connection.close()
        return counted

    def answered(self, connection: Connection, *, ok: bool) -> None:
        self._latencies.append(time.perf_counter() - connection.asked_at)
        self._errors += not ok
        if self._ended or self._job.pattern != "closed":
            self._free.append(connection)
        else:
            connection.ask(self._request())

    def lost(self) -> None:
        self._errors += 1

    def _begin(self) -> None:
        if self._job.pattern == "open":
            self._arrive(self._loop.time())
            return
        while self._free:
            self._free.popleft().ask(self._request())

    def _arrive(self, due: float) -> None:
        """One request of an open loop, and the next one later: evenly, but not in step with anything."""
        if self._ended:
            return
        if self._free:
            self._free.popleft().ask(self._request())
        else:
            self._errors += 1
        gap = 1.0 / self._job.rate
        late = due + gap
        self._loop.call_at(late + gap * (self._jitter.random() - 0.5), self._arrive, late)

    def _request(self) -> bytes:
        body = self._bodies.next()
        return b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body)

    async def _count(self) -> Outcome:
        self._latencies.clear()
        events, started = self.events, time.perf_counter()
        before = meter.cpu_of_all(self._job.watched)
        await asyncio.sleep(self._job.seconds)
        after = meter.cpu_of_all(self._job.watched)
        return Outcome(
            seconds=time.perf_counter() - started,
            requests=len(self._latencies),
            events=self.events - events,
            errors=self._errors,
            latency_ms=_percentiles(self._latencies),
            cpu={name: after[name] - before[name] for name in after},
        )

    async def _last_answers(self) -> None:
        async with asyncio.timeout(LAST_ANSWERS_SECONDS):
            while len(self._free) < self._job.connections:
                await asyncio.sleep(0.01)


def _head(job: Job) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: bench", "content-type: application/json"]
    lines += ["accept: */*", "user-agent: bench/1"]
    if job.pattern == "streams":
        # They outlast the counting, so that it sees nothing of their beginnings and ends.
        events = math.ceil((job.warm_up + job.seconds + 0.5) / job.gap)
        lines.append(stream_header(events, job.gap))
    return "".join(f"{line}\r\n" for line in lines).encode()


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{q}": float(np.percentile(seconds, q)) * 1e3 for q in PERCENTILES}


# === the program ===


async def _take_jobs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    watched_too = {"load": os.getpid()}
    try:
        while line := await reader.readline():
            job = msgspec.json.decode(line, type=Job)
            job = msgspec.structs.replace(job, watched=job.watched | watched_too)
            writer.write(msgspec.json.encode(await Run(job).outcome()) + b"\n")
    finally:
        writer.close()  # after a job that fails, the other side must not wait


async def serve() -> None:
    """Take jobs until cancelled."""
    server = await asyncio.start_server(_take_jobs, "127.0.0.1", 0)
    print(f"listening 127.0.0.1:{port_of(server)}", flush=True)
    await server.serve_forever()


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
