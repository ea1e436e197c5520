"""What a replica's metrics page shows, and has shown: readings of it are some time old.

The page tells of the end of a step: whoever came during it is not on it yet.
"""

from collections import deque
from dataclasses import dataclass, replace

from bench.simulator.engine import Engine
from endpoint_picker.core.endpoints import Gauges


@dataclass(frozen=True, slots=True)
class _Page:
    """What the engine reports at the end of a step."""

    waiting: int
    running: int
    kv_usage: float
    adapters: tuple[tuple[str, ...], tuple[str, ...]]
    """Of running and of waiting sequences."""


class Pages:
    """Of one replica."""

    def __init__(self, engine: Engine, horizon: float) -> None:
        """`horizon`: seconds for which what has been shown is remembered."""
        self.adapters = False
        """Whether anybody ever asked for one."""
        self._horizon = horizon
        self._shown: deque[tuple[float, _Page]] = deque()
        """(from when on, what the page shows), the oldest first."""
        self.begin(engine, 0.0)

    def begin(self, engine: Engine, now: float) -> None:
        """It is another engine's from now on."""
        self._shown.clear()
        self.report(engine)
        self.show(now)

    def report(self, engine: Engine) -> None:
        """What is to be shown next."""
        running, waiting = engine.adapters() if self.adapters else ([], [])
        self._next = _Page(
            engine.waiting, engine.running, engine.cache.usage, (tuple(running), tuple(waiting))
        )

    def report_usage(self, engine: Engine) -> None:
        """The same, but of what the step that goes on brings only the cache has changed since."""
        self._next = replace(self._next, kv_usage=engine.cache.usage)

    def show(self, now: float) -> None:
        """Show what was reported last."""
        shown, page = self._shown, self._next
        if shown and shown[-1][1] == page:
            return
        shown.append((now, page))
        while len(shown) > 1 and shown[1][0] <= now - self._horizon:
            shown.popleft()

    def at(self, time: float, engine: Engine) -> Gauges | None:
        """What the page showed; None where the engine was not there."""
        page = next((page for since, page in reversed(self._shown) if since <= time), None)
        if page is None:
            return None
        config = engine.config
        running, waiting = page.adapters
        return Gauges(
            waiting=page.waiting,
            running=page.running,
            kv_usage=page.kv_usage,
            block_size=config.block_size,
            num_blocks=config.num_blocks,
            max_lora=config.max_loras or None,
            lora_running=frozenset(running),
            lora_waiting=frozenset(waiting),
        )
