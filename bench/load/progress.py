"""How far a run is: a line that changes on a terminal, a line now and then elsewhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from rich.console import Console

from bench.load.sending import Sending
from bench.routing.meter import duration

_TERMINAL_SECONDS: Final = 0.25
_PLAIN_SECONDS: Final = 10.0
_LATELY: Final = 50
"""Answers whose times tell what one takes."""


@contextlib.asynccontextmanager
async def shown(sending: Sending, console: Console) -> AsyncIterator[None]:
    """Tell of it for as long as the block lasts."""
    task = asyncio.create_task(_live(sending, console) if console.is_terminal else _plain(sending, console))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _live(sending: Sending, console: Console) -> None:
    with console.status(told(sending)) as status:
        while True:
            await asyncio.sleep(_TERMINAL_SECONDS)
            status.update(told(sending))


async def _plain(sending: Sending, console: Console) -> None:
    while True:
        await asyncio.sleep(_PLAIN_SECONDS)
        console.print(told(sending), highlight=False)


def told(sending: Sending) -> str:
    """One line."""
    sent = len(sending.records) + sending.in_flight
    return (
        f"{sent} of {sending.total} sent, {sending.in_flight} in flight, {sending.errors} errors, "
        f"about {duration(left(sending))} left"
    )


def left(sending: Sending) -> float:
    """Seconds: what the schedule has left, and about one answer more.

    A conversation may go on for longer, since it waits for each of its answers.
    """
    lately = [record.whole for record in sending.records[-_LATELY:]]
    answer = sum(lately) / len(lately) if lately else 0.0
    return max(0.0, sending.schedule - sending.elapsed) + answer
