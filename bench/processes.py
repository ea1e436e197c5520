"""Starts and stops the programs of a measurement: children that never outlive it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ENVOY: Final = ROOT / ".venv-tools" / "bin" / "envoy"
STOP_SECONDS: Final = 10.0
LOG_TAIL: Final = 2_000
"""Characters of a program's output that are shown when it fails."""


class Failed(RuntimeError):
    """A program did not start, or ended early; the message holds the end of its output."""


class Process:
    """One running program; its output goes to a file."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.child = child
        self.log = log

    @property
    def pid(self) -> int:
        return self.child.pid

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-LOG_TAIL:]

    def check(self) -> None:
        """Raises Failed when it has ended."""
        if self.child.returncode is not None:
            raise Failed(f"{self.name} ended with code {self.child.returncode}:\n{self.tail()}")

    async def lines(self, start: str, count: int, seconds: float = 30.0) -> list[str]:
        """The first lines of its output that start so. Raises Failed when they do not come in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    found = [line for line in self.log.read_text().splitlines() if line.startswith(start)]
                    if len(found) >= count:
                        return found[:count]
                    self.check()
                    await asyncio.sleep(0.05)
        raise Failed(f"{self.name} did not say {start!r} within {seconds:.0f} s:\n{self.tail()}")

    async def stop(self) -> int:
        """Ask it to end, then make it; answers its exit code."""
        if self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.child.terminate()
            try:
                await asyncio.wait_for(self.child.wait(), STOP_SECONDS)
            except TimeoutError:
                self.kill()
        return await self.child.wait()

    def kill(self) -> None:
        """End it and its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def running(name: str, command: Sequence[str | Path], folder: Path) -> AsyncIterator[Process]:
    """A program in a process group of its own, so that a Ctrl-C reaches only us, who then stop it."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *map(str, command), stdout=output, stderr=output, cwd=ROOT, start_new_session=True
        )
    process = Process(name, child, log)
    try:
        yield process
    finally:
        await process.stop()


async def reachable(process: Process, port: int, seconds: float = 30.0) -> None:
    """Until it listens. Raises Failed when it ends first, or takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                process.check()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
    raise Failed(f"{process.name} does not listen on port {port}:\n{process.tail()}")


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody uses now; held until all are found, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
