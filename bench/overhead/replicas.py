"""Fake replicas that cost next to nothing: `python -m bench.overhead.replicas --count 100`.

One process, one port for each replica. Whatever it is asked, it answers with the same small JSON document,
or with events at a pace that a header names; `GET` answers the metrics page. Prints a line `listening
IP:PORT` for each replica and serves until it is stopped.
"""

import argparse
import asyncio
import itertools
import random
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import uvloop

from bench.overhead.http1 import Message
from bench.samples import answers
from bench.samples.page import pages

PAGES: Final = 16
PAGE_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
SEED: Final = 3
STREAM: Final = re.compile(rb"\r\nx-bench-stream: (\d+) ([0-9.]+)")
"""How many events, and the seconds between two."""
BACKLOG: Final = 1024


def stream_header(events: int, gap: float) -> str:
    """What asks for such a stream."""
    return f"x-bench-stream: {events} {gap:g}"


# === what is said ===


def _answer(kind: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


DOCUMENT: Final = _answer("application/json", answers.DOCUMENT)
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
EVENT: Final = _chunk(answers.TOKEN)
LAST_EVENTS: Final = b"".join((*map(_chunk, answers.LAST), b"0\r\n\r\n"))


# === who says it ===


class Replica:
    """What all connections to one port share."""

    def __init__(self, idle: Iterator[bytes], busy: Iterator[bytes]) -> None:
        self.streams = 0
        """Streams going on."""
        self._idle = idle
        self._busy = busy

    def page(self) -> bytes:
        """The next metrics page. The picker reads a replica less often that has nothing to do."""
        return next(self._busy if self.streams else self._idle)


class Conversation(asyncio.Protocol):
    """One connection, one request after the other."""

    def __init__(self, replica: Replica, rng: random.Random) -> None:
        self._replica = replica
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._request = Message()
        self._transport: Any = None
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._end_stream()

    def data_received(self, data: bytes) -> None:
        if not self._request.feed(data):
            return
        head, self._request = self._request.head, Message()
        if head.startswith(b"GET "):
            self._transport.write(self._replica.page())
        elif asked := STREAM.search(head):
            self._transport.write(STREAM_HEAD)
            self._replica.streams += 1
            gap = float(asked[2])
            # Streams that began together must not stay in step.
            self._later(self._loop.time() + gap * self._rng.random(), int(asked[1]), gap)
        else:
            self._transport.write(DOCUMENT)

    def _later(self, when: float, left: int, gap: float) -> None:
        self._next = self._loop.call_at(when, self._say, when, left, gap)

    def _say(self, when: float, left: int, gap: float) -> None:
        """The next event. The time counts from the last due moment, so that delays do not add up."""
        if not left:
            self._transport.write(LAST_EVENTS)
            self._end_stream()
            return
        self._transport.write(EVENT)
        self._later(when + gap, left - 1, gap)

    def _end_stream(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._replica.streams -= 1


async def listen(count: int) -> list[asyncio.Server]:
    """Replicas on free ports of loopback, to be called inside a running event loop."""
    loop, rng = asyncio.get_running_loop(), random.Random(SEED)
    idle, busy = (
        [_answer(PAGE_TYPE, each) for each in pages(PAGES, SEED, busy=busy)] for busy in (False, True)
    )

    def replica(number: int) -> Replica:
        first = number % PAGES
        return Replica(*(itertools.cycle((*told[first:], *told[:first])) for told in (idle, busy)))

    return [
        await loop.create_server(partial(Conversation, replica(number), rng), "127.0.0.1", 0, backlog=BACKLOG)
        for number in range(count)
    ]


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def serve(count: int) -> None:
    """Serve until cancelled."""
    for server in await listen(count):
        print(f"listening 127.0.0.1:{port_of(server)}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1, help="how many replicas (default: 1)")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().count))


if __name__ == "__main__":
    main()
