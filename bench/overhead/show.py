"""Shows what runs now, and how long it will go on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

TICK_SECONDS: Final = 0.25


class _Left(ProgressColumn):
    """The steps have known lengths, so what is left is a sum and no guess from the speed so far."""

    def render(self, task: Task) -> Text:
        return Text(f"about {max(0.0, task.remaining or 0.0):.0f} s left")


class Show:
    """A bar of seconds, moved on step by step. Used as a context."""

    def __init__(self, console: Console, seconds: float) -> None:
        columns = (TextColumn("{task.description:<32}"), BarColumn(40), _Left())
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=seconds)
        self._done = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextlib.asynccontextmanager
    async def step(self, label: str, seconds: float) -> AsyncIterator[None]:
        """What happens inside takes about so long."""
        self._progress.update(self._task, description=label)
        ticking = asyncio.create_task(self._tick(seconds))
        try:
            yield
        finally:
            ticking.cancel()
            self._done += seconds
            self._progress.update(self._task, completed=self._done)

    async def _tick(self, seconds: float) -> None:
        gone = 0.0
        while gone < seconds:
            self._progress.update(self._task, completed=self._done + gone)
            await asyncio.sleep(TICK_SECONDS)
            gone += TICK_SECONDS
