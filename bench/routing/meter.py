"""Progress, and how long it will go on."""

from time import monotonic
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

_TRUSTED: Final = 0.03
"""Share of all work from which on the speed so far tells more than the estimate."""


class Meter:
    """A bar of work, or ten lines where the output is no terminal. What is expected changes: nobody knows how
    many steps a search takes."""

    def __init__(self, console: Console, work: float, seconds: float) -> None:
        self._console, self._estimate, self._begin = console, seconds, monotonic()
        columns = (
            TextColumn("simulating"),
            BarColumn(40),
            TextColumn("{task.fields[runs]} runs"),
            _Left(self),
        )
        self._progress = Progress(*columns, console=console, refresh_per_second=2)
        self._task = self._progress.add_task("", total=work, runs=0)
        self._work, self._done, self._runs = work, 0.0, 0

    def __enter__(self) -> Self:
        self._begin = monotonic()
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def expect(self, work: float) -> None:
        """So much more than was thought, or less."""
        self._work += work
        self._progress.update(self._task, total=max(self._work, self._done))

    def done(self, work: float) -> None:
        """A run that was to be so much work."""
        self._done += work
        self._runs += 1
        self._progress.update(self._task, completed=self._done, runs=self._runs)
        if not self._console.is_terminal and self._tenths(self._done) > self._tenths(self._done - work):
            told = f"{self._runs} runs, about {duration(self.left())} left"
            self._console.print(told, highlight=False)

    def _tenths(self, done: float) -> int:
        return int(10.0 * done / max(self._work, self._done, 1e-9))

    def left(self) -> float:
        """Seconds."""
        share = self._done / max(self._work, self._done, 1e-9)
        gone = monotonic() - self._begin
        whole = gone / share if share > _TRUSTED else self._estimate
        return max(0.0, whole - gone)


class _Left(ProgressColumn):
    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: Task) -> Text:
        return Text(f"about {duration(self._meter.left())} left")


def duration(seconds: float) -> str:
    """For people: the two largest units."""
    if seconds < 60.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
