"""Keeps background work alive and accounted for.

A task that nobody refers to may vanish, one that fails may do so in silence, and one that is not waited for
outlives the shutdown. So tasks start here and nowhere else: named, referenced, guarded. Beside them stand
the loop that background work is made of, the waiting times after failures, and the socket that each of our
servers listens on.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
"""Waits that many seconds; tests put their own in its place."""

LONGEST_GOODBYE: Final = 5.0
"""Seconds that a cancelled task may take to end before it is left behind, with a word in the log."""
MOST_DOUBLINGS: Final = 30
"""Beyond these a waiting time grows no further: any sensible cap is long reached."""


class Tasks:
    """Tasks with names, held and guarded until they end."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T | None]:
        """Run the coroutine in the background; an exception is logged once, and its result is then None.

        Raises RuntimeError after `close`.
        """
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"the task {name} came too late: these tasks are closed")
        task = asyncio.create_task(_guarded(name, coroutine), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A task that is cancelled before its first step would leave its coroutine unawaited.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def close(self) -> None:
        """Cancel all that runs and wait for its end; nothing can be started any more."""
        self._closed = True
        others = self._running - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            _, stuck = await asyncio.wait(others, timeout=LONGEST_GOODBYE)
            for task in stuck:
                log.error("the task %s did not end when it was cancelled", task.get_name())


async def _guarded(name: str, coroutine: Coroutine[Any, Any, T]) -> T | None:
    try:
        return await coroutine
    except Exception:
        log.exception("the task %s died", name)
        return None


async def repeat(
    name: str,
    step: Callable[[], Awaitable[float]],
    *,
    after_failure: float = 1.0,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Call `step` for ever; it answers the seconds to wait before the next call.

    One that raises is called again after `after_failure` seconds; that is logged once, until it works again.
    """
    failing = False
    while True:
        try:
            pause = await step()
            failing = False
        except Exception:
            if not failing:
                log.exception("%s failed; it is tried again", name)
            failing, pause = True, after_failure
        await sleep(pause)


class Backoff:
    """Waiting times that double with each failure, drawn evenly from all that the doubling allows.

    The draw ("full jitter") keeps many that failed together from coming back together.
    """

    def __init__(self, first: float, cap: float, *, rng: random.Random, least: float = 0.0) -> None:
        self._first = first
        """Longest wait after the first failure, in seconds."""
        self._cap = cap
        self._least = least
        """Shortest wait: a plain draw could be nothing at all."""
        self._rng = rng
        self.failures = 0
        """Failures in a row."""

    def next(self) -> float:
        """Seconds to wait after one more failure, between `least` and the cap."""
        longest = min(self._cap, self._first * 2.0 ** min(self.failures, MOST_DOUBLINGS))
        self.failures += 1
        return self._rng.uniform(min(self._least, longest), longest)

    def reset(self) -> None:
        """It worked: the next failure counts as the first."""
        self.failures = 0


def listen(port: int, backlog: int = 128) -> socket.socket:
    """One socket for IPv4 and IPv6, so that a free port is the same for both. Raises OSError."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", port), backlog=backlog)
