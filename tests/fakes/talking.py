"""A service to try a transport with: calls that echo, that say much, that never answer."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from endpoint_picker.transport.calls import Say, Services
from endpoint_picker.transport.http2 import Server
from endpoint_picker.transport.limits import Limits
from endpoint_picker.transport.messages import Code, Status


class Talk:
    """What the calls of one test did."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.opened = 0
        self.closed = 0

    def services(self) -> Services:
        return {
            "/test.Talk/Echo": lambda _: Echo(self),
            "/test.Talk/Swell": lambda _: Swell(self),
            "/test.Talk/Mute": lambda _: Mute(self),
            "/test.Talk/First": lambda _: First(self),
            "/test.Talk/Fail": lambda _: Fail(self),
            "/test.Talk/Wordy": lambda _: Wordy(self),
            "/test.Talk/Slow": lambda say: Slow(self, say),
            "/test.Talk/Eager": lambda say: Eager(self, say),
        }


class Echo:
    """Answers each message with itself."""

    finished = False
    waits = False

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        talk.opened += 1

    def receive(self, message: bytes) -> Iterable[bytes]:
        return (message,)

    def half_close(self) -> Iterable[bytes]:
        return ()

    def close(self) -> None:
        self._talk.closed += 1


class Swell(Echo):
    """Answers each message with as many bytes as it says."""

    def receive(self, message: bytes) -> Iterable[bytes]:
        return (bytes(int(message)),)


class Mute(Echo):
    """Takes everything and says nothing."""

    def receive(self, message: bytes) -> Iterable[bytes]:
        return ()


class First(Echo):
    """Ends with the first message, whatever else may come."""

    finished = False

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.finished = True
        return (message,)


class Slow(Echo):
    """Answers each message a moment later, and ends with `end`."""

    def __init__(self, talk: Talk, say: Say) -> None:
        super().__init__(talk)
        self._say = say
        self.waits = False

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.waits = True
        asyncio.get_running_loop().call_later(0.02, self._answer, message)
        return ()

    def _answer(self, message: bytes) -> None:
        self.waits = False
        self.finished = message == b"end"
        self._say((message, message.upper()))


class Eager(Slow):
    """Answers at once, and has said the rest before that answer is sent."""

    def receive(self, message: bytes) -> Iterable[bytes]:
        self._answer(message)
        return (b"first",)


class Wordy(Echo):
    """Ends with a long text."""

    def half_close(self) -> Iterable[bytes]:
        raise Status(Code.INVALID_ARGUMENT, "ü" * 1_000)


class Fail(Echo):
    """Raises: `status` as a call may, anything else as it may not."""

    def receive(self, message: bytes) -> Iterable[bytes]:
        if message == b"status":
            raise Status(Code.INVALID_ARGUMENT, "100 % wrong: ü\n")
        raise RuntimeError("a defect")


@asynccontextmanager
async def talking(talk: Talk, **limits: Any) -> AsyncIterator[tuple[Server, int]]:
    """Our server on a port of its own; it is empty at the end."""
    server = Server(talk.services(), Limits(**limits))
    port = await server.start(0)
    try:
        yield server, port
    finally:
        await server.stop(0.0)
        async with asyncio.timeout(5.0):
            while server.peers:
                await asyncio.sleep(0.005)
