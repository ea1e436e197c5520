"""Programs of their own, started and ended by a measurement or a test; none outlives it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import aiohttp

ROOT: Final = Path(__file__).resolve().parents[1]
START_SECONDS: Final = 30.0
"""Far more than a start takes: a busy machine must not look like a failure."""
STOP_SECONDS: Final = 10.0
LAST_LINES: Final = 40
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a user or a script ends a run with. SIGINT is named though Python knows it: whoever starts a run in
the background of a script has it ignored otherwise."""
_LISTENED: Final = range(10_000, 32_768)
"""Ports that systems do not give to connections that go out, unless somebody told them to."""
_TRIES: Final = 100


class Failed(RuntimeError):
    """A program did not start, or ended early; the message shows the end of its output."""


class Process:
    """A child in a group of its own, which a Ctrl-C does not reach; its output goes to a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        self._name = " ".join(command)
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def output(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, if it still runs."""
        if self._child.poll() is None:
            os.killpg(self._child.pid, number)

    def stop(self) -> None:
        """Ask it to end; one that does not in time is killed."""
        self.signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        self._child.wait(STOP_SECONDS)

    async def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        return await asyncio.to_thread(self._child.wait, STOP_SECONDS)

    async def until(self, ready: Callable[[], Awaitable[bool]], seconds: float = START_SECONDS) -> None:
        """Wait until `ready` answers true. Raises Failed when the program ends first, or takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while not await ready():
                    if self._child.poll() is not None:
                        raise Failed(f"{self._name} ended:\n{self.output()}")
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise Failed(f"{self._name} is not ready after {seconds:g} s:\n{self.output()}") from error

    async def says(self, start: str, count: int) -> list[str]:
        """The first lines of its output that start so. Raises Failed when they do not come."""

        def found() -> list[str]:
            return [line for line in self.log.read_text().splitlines() if line.startswith(start)][:count]

        async def enough() -> bool:
            return len(found()) == count

        await self.until(enough)
        return found()


def end_on_signals() -> None:
    """Cancel the task that runs now on any of ENDING: its programs are in groups of their own, so nobody else
    would end them."""
    running = asyncio.current_task()
    assert running is not None
    for each in ENDING:
        asyncio.get_running_loop().add_signal_handler(each, running.cancel)


def free_port() -> int:
    """A port on loopback that nobody listens on now.

    None of those from which a system gives ports to connections that go out: such a one could be taken
    between here and the program that is told to listen on it.
    """
    for port in Random().sample(_LISTENED, _TRIES):
        with socket.socket() as probe:
            # What a server does: ports of connections that have just been closed are free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                return port
    raise Failed(f"no free port found among {_LISTENED.start} to {_LISTENED.stop - 1}")


async def page(url: str) -> str:
    """What an HTTP address answers."""
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return await response.text()
