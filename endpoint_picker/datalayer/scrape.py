"""Reads every replica's pages again and again, each in a loop of its own.

One loop for each page is what keeps replicas apart: one that hangs holds up nothing but its own next reading.
What was read before stays in the table and turns stale there by itself, so a failure needs no clean-up; it
only makes the loop slower until the replica is back. A replica with nothing to do is read less often as well,
until something is in flight there: each page costs both sides, and would say the same again.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from yarl import URL

from endpoint_picker import aio
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.datalayer.fetch import DEADLINE, Pages
from endpoint_picker.datalayer.rounds import Page, Place, Rounds
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Extractor, Source

log = logging.getLogger(__name__)

SHORTEST_INTERVAL: Final = 0.05
"""Seconds; a page costs a real engine about 5 ms of CPU."""
LOOK_SECONDS: Final = 0.1
"""How often the table is looked at for what nobody announces: other members, requests to an idle endpoint."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A source and what reads its pages."""

    source: Source
    extractors: tuple[Extractor, ...]


_Key = tuple[int, Page, tuple[Place, ...]]
"""Number of a feed, a page of its source, and the endpoints that are on it."""


class Scraper:
    """Keeps one loop for each page, and each feed, of the endpoints of the table."""

    def __init__(
        self,
        table: EndpointTable,
        metrics: Metrics,
        feeds: Sequence[Feed],
        *,
        clock: Callable[[], float],
        rng: random.Random,
        interval: float = 0.2,
        deadline: float = DEADLINE,
    ) -> None:
        self._table = table
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._deadline = deadline
        self._interval = interval
        self._feeds = tuple(zip(feeds, periods(interval, [feed.source for feed in feeds]), strict=True))
        self._tasks = aio.Tasks()
        self._rounds: dict[_Key, tuple[Rounds, asyncio.Task[Any]]] = {}
        self._known: dict[tuple[int, int], tuple[Endpoint, URL]] = {}
        """(feed, row) → the endpoint there and its page: to find it anew costs as much as a pick."""
        self._pages: Pages | None = None
        self._seen = -1
        self._wake = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Follow the membership and the ledger of the table for ever."""
        while True:
            self._reconcile()
            self._rouse()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    def change(self, feeds: Sequence[Feed]) -> None:
        """Read by these feeds from now on; where they do what the old ones did, nothing changes."""
        if [_content(feed) for feed in feeds] == [_content(feed) for feed, _ in self._feeds]:
            return
        self._feeds = tuple(zip(feeds, periods(self._interval, [feed.source for feed in feeds]), strict=True))
        for _, task in self._rounds.values():
            task.cancel()
        self._rounds.clear()
        self._known.clear()
        self._seen = -1
        self._wake.set()

    def membership_changed(self) -> None:
        """The table has other members: start and stop loops now instead of at the next look."""
        self._wake.set()

    async def first_pass(self, timeout: float) -> bool:
        """Wait until each endpoint was tried once; False when `timeout` seconds were not enough."""
        self._reconcile()
        try:
            async with asyncio.timeout(timeout):
                for rounds, _ in list(self._rounds.values()):
                    await rounds.tried.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop all loops and close all connections."""
        self._closed = True
        await self._tasks.close()
        self._rounds.clear()
        if self._pages is not None:
            await self._pages.close()

    def _reconcile(self) -> None:
        if self._closed or self._seen == self._table.version:
            return
        self._seen = self._table.version
        wanted = self._wanted()
        for key in self._rounds.keys() - wanted.keys():
            self._rounds.pop(key)[1].cancel()
        for key in wanted:
            if key not in self._rounds:
                self._start(*key)

    def _wanted(self) -> dict[_Key, None]:
        """The loops that there should be, in the order of the table."""
        on_page: dict[tuple[int, Page], list[Place]] = {}
        for row in self._table.live.tolist():
            place = Place(self._table, row, int(self._table.generation[row]))
            for feed in range(len(self._feeds)):
                on_page.setdefault((feed, self._page(feed, row)), []).append(place)
        return {(feed, page, tuple(places)): None for (feed, page), places in on_page.items()}

    def _page(self, feed: int, row: int) -> Page:
        endpoint = self._table[row]
        known = self._known.get((feed, row))
        if known is not None and known[0] is endpoint:
            return known[1]
        source = self._feeds[feed][0].source
        try:
            page = source.url(endpoint)
        except ValueError as error:
            return str(error)
        except Exception as error:
            log.exception("%s cannot tell where the page of %s is", source.name, endpoint.id)
            return f"{source.name}: {type(error).__name__}"
        self._known[feed, row] = endpoint, page
        return page

    def _rouse(self) -> None:
        """Cut short the long pauses of the endpoints that have something in flight.

        Until the next reading `unread` stands in for a request, but only up to its first token; from there
        on the gauges would call a replica idle that runs many, for as long as the pause lasts. A look now
        and then is enough, and better than a call at the pick: a page read at once would not show the
        request yet, though a reading counts as showing all that was sent before it.
        """
        busy = set(self._table.in_flight.nonzero()[0].tolist())
        if busy:
            for (_, _, places), (rounds, _) in self._rounds.items():
                if any(place.row in busy for place in places):
                    rounds.rouse()

    def _start(self, number: int, page: Page, places: tuple[Place, ...]) -> None:
        if self._pages is None:
            self._pages = Pages(deadline=self._deadline)
        feed, period = self._feeds[number]
        rounds = Rounds(
            places,
            page,
            feed.source,
            feed.extractors,
            self._pages,
            self._metrics,
            clock=self._clock,
            rng=self._rng,
            period=period,
        )
        name = f"scraping {rounds.names} ({feed.source.name})"
        self._rounds[number, page, places] = rounds, self._tasks.start(name, rounds.run(name))


def _content(feed: Feed) -> object:
    """What a feed does, as a value."""
    plugins: tuple[Source | Extractor, ...] = (feed.source, *feed.extractors)
    return [(type(plugin), plugin.name, plugin.parameters) for plugin in plugins]


def periods(base: float, sources: Sequence[Source]) -> list[float]:
    """Seconds between two readings, for each source.

    The tick is the base interval, or the shortest interval of a source if that is shorter; a source without
    an interval is read at every tick, others at the nearest multiple of it.
    """
    own = [source.interval for source in sources if source.interval is not None]
    tick = max(SHORTEST_INTERVAL, min([base, *own]))
    return [_rounded(source, tick) for source in sources]


def _rounded(source: Source, tick: float) -> float:
    if source.interval is None:
        return tick
    period = tick * max(1, round(source.interval / tick))
    if abs(period - source.interval) > 1e-9:
        log.info("%s: the interval of %g s is rounded to %g s", source.name, source.interval, period)
    return period
