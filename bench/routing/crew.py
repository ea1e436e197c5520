"""Processes that simulate. None outlives the run, however that ends."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from typing import Any, Protocol, Self, TypeVar

from bench.processes import Failed

T = TypeVar("T")


class Hands(Protocol):
    """Whoever does work."""

    async def do(self, work: Callable[[Any], T], what: Any) -> T:
        """The answer to `work(what)`, and its errors."""


class Crew:
    """So many processes; used as a context. Each is started anew, not forked from a program with threads."""

    def __init__(self, jobs: int) -> None:
        self._pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
        # A Ctrl-C reaches them, too, perhaps before they can say that they do not care.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        for _ in range(jobs):
            self._pool.submit(int)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in active_children():
            each.terminate()
        self._pool.shutdown(cancel_futures=True)

    async def do(self, work: Callable[[Any], T], what: Any) -> T:
        """Raises Failed when a process has ended early."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, what)
        except BrokenProcessPool as error:
            raise Failed(
                "a process ended in the middle of a simulation, perhaps for want of memory: use fewer --jobs"
            ) from error


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """The parent ends its processes itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot end anybody."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
