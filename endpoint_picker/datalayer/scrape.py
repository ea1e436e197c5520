"""Reads every replica's pages again and again, each in a loop of its own.

One loop for each endpoint is what keeps them apart: a replica that hangs holds up nothing but its own next
reading. What was read before stays in the table and turns stale there by itself, so a failure needs no
clean-up; it only makes the loop slower until the replica is back. A replica with nothing to do is read less
often as well, until something is in flight there: each page costs both sides, and would say the same again.
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
from endpoint_picker.datalayer.fetch import DEADLINE, FetchError, Pages
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Extractor, Source

log = logging.getLogger(__name__)

SHORTEST_INTERVAL: Final = 0.05
"""Seconds; a page costs a real engine about 5 ms of CPU."""
LONGEST_BACKOFF: Final = 2.0
"""Seconds: a replica that is back is seen that soon."""
SPREAD: Final = 0.2
"""Seconds over which the first readings are spread."""
IDLE_INTERVAL: Final = 1.0
"""Seconds between two readings of an endpoint with nothing to do. We learn that late of the requests that
other pickers send there, where few of them change a choice; our own are in the ledger at once."""
LOOK_SECONDS: Final = 0.1
"""How often the table is looked at for what nobody announces: other members, requests to an idle endpoint."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A source and what reads its pages."""

    source: Source
    extractors: tuple[Extractor, ...]


class Scraper:
    """Keeps one loop for each endpoint of the table and each feed."""

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
        self._rounds: dict[tuple[int, int, int], tuple[_Rounds, asyncio.Task[Any]]] = {}
        """(feed, row, generation) → its loop."""
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
        wanted = {
            (feed, row, int(self._table.generation[row]))
            for row in self._table.live.tolist()
            for feed in range(len(self._feeds))
        }
        for key in self._rounds.keys() - wanted:
            self._rounds.pop(key)[1].cancel()
        for key in wanted - self._rounds.keys():
            self._start(*key)

    def _rouse(self) -> None:
        """Cut short the long pauses of the endpoints that have something in flight.

        Until the next reading `unread` stands in for a request, but only up to its first token; from there
        on the gauges would call a replica idle that runs many, for as long as the pause lasts. A look now
        and then is enough, and better than a call at the pick: a page read at once would not show the
        request yet, though a reading counts as showing all that was sent before it.
        """
        busy = set(self._table.in_flight.nonzero()[0].tolist())
        if busy:
            for (_, row, _), (rounds, _) in self._rounds.items():
                if row in busy:
                    rounds.rouse()

    def _start(self, feed: int, row: int, generation: int) -> None:
        if self._pages is None:
            self._pages = Pages(deadline=self._deadline)
        place = Place(self._table, row, generation)
        source, period = self._feeds[feed]
        rounds = _Rounds(place, source, self._pages, self._metrics, self._clock, self._rng, period)
        name = f"scraping {self._table[row].id} ({source.source.name})"
        self._rounds[feed, row, generation] = rounds, self._tasks.start(name, rounds.run(name))


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


def pause(period: float, took: float, *, idle: bool, stale_after: float) -> float:
    """Seconds to wait after a reading that took so long; a replica that answers slowly may breathe.

    They are more where it is idle, but leave half of the time after which a reading is stale for the next
    one to arrive, or to fail and be tried again.
    """
    interval = max(period, min(IDLE_INTERVAL, stale_after / 2.0)) if idle else period
    return max(interval - took, interval / 2.0)


def left(period: float, rested: float) -> float:
    """Seconds until the full rate would read again, after a rest of so long."""
    return period - rested % period


@dataclass(frozen=True, slots=True)
class Place:
    """A row for as long as it means the same endpoint."""

    table: EndpointTable
    row: int
    generation: int

    @property
    def taken(self) -> bool:
        return int(self.table.generation[self.row]) == self.generation

    @property
    def idle(self) -> bool:
        """Neither our ledger nor its last reading knows of a request there; a gauge not known is no proof."""
        table, row = self.table, self.row
        return bool(table.in_flight[row] == 0 and table.running[row] == 0.0 and table.waiting[row] == 0.0)


class _Rounds:
    """The loop of one endpoint and one feed."""

    def __init__(
        self,
        place: Place,
        feed: Feed,
        pages: Pages,
        metrics: Metrics,
        clock: Callable[[], float],
        rng: random.Random,
        period: float,
    ) -> None:
        self.tried = asyncio.Event()
        """Set once the endpoint was tried, with whatever outcome."""
        self._place = place
        self._feed = feed
        self._pages = pages
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._period = period
        self._backoff = aio.Backoff(2.0 * period, max(LONGEST_BACKOFF, period), rng=rng, least=period)
        self._page_of: Endpoint | None = None
        self._url = URL()
        """Where the page of that endpoint is."""
        self._read_at = clock()
        """When a page was last had."""
        self._forgotten = False
        self._state = ""
        """What is wrong with the endpoint in one word; empty: nothing."""
        self._resting = False
        """Whether the pause is as long as it is only because the endpoint is idle."""
        self._roused = asyncio.Event()

    async def run(self, name: str) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, min(self._period, SPREAD)))
        await aio.repeat(name, self._step, after_failure=LONGEST_BACKOFF, sleep=self._sleep)

    def rouse(self) -> None:
        """Something is in flight there: if the loop rests, it reads again within a period."""
        self._roused.set()

    async def _sleep(self, seconds: float) -> None:
        await (self._rest if self._resting else asyncio.sleep)(seconds)

    async def _rest(self, seconds: float) -> None:
        """Wait so long or, once it is roused, until the full rate would have read the page.

        So the interval holds however often that is, and endpoints that one look rouses stay spread.
        """
        self._roused.clear()
        began = self._clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._roused.wait()
                await asyncio.sleep(left(self._period, self._clock() - began))

    async def _step(self) -> float:
        """One reading; answers the seconds until the next."""
        self._resting = False
        if not self._place.taken:
            self.tried.set()
            return self._period  # the reconciler is about to end this loop
        first = not self.tried.is_set()
        started = self._clock()
        try:
            good = await self._scrape()
        finally:
            self.tried.set()
        if not good:
            return self._backoff.next()
        self._backoff.reset()
        self._resting = self._place.idle
        took = self._clock() - started
        seconds = pause(self._period, took, idle=self._resting, stale_after=self._place.table.stale_after)
        # From the first reading on they are spread over the whole pause.
        return seconds * self._rng.random() if first else seconds

    async def _scrape(self) -> bool:
        """Answers whether anybody could read the page."""
        source = self._feed.source
        try:
            page = await self._pages.get(self._address(), source.tls)
        except (FetchError, ValueError) as error:
            self._metrics.poll_failed(source.type)
            self._tell("unavailable", f"{self._url}: {error}")
            self._forget()
            return False
        if not self._place.taken:
            return True
        self._read_at, self._forgotten = self._clock(), False
        wrong = [why for extractor in self._feed.extractors if (why := self._extract(extractor, page))]
        self._tell("unreadable" if wrong else "", f"{self._url}: {'; '.join(wrong)}")
        return not wrong or len(wrong) < len(self._feed.extractors)

    def _address(self) -> URL:
        """Made anew only where the endpoint has changed. Raises ValueError where it can have none."""
        endpoint = self._place.table[self._place.row]
        if endpoint is not self._page_of:
            self._url = self._feed.source.url(endpoint)
            self._page_of = endpoint
        return self._url

    def _extract(self, extractor: Extractor, page: bytes) -> str:
        """Let the extractor read the page; answers what is wrong with it, or nothing.

        Whatever one of them raises, the others have their turn.
        """
        try:
            extractor.extract(page, self._place.row)
        except ValueError as error:
            why = str(error)
        except Exception as error:
            if not self._state:
                log.exception("%s cannot read the page %s", extractor.name, self._url)
            why = f"{extractor.name}: {type(error).__name__}"
        else:
            return ""
        self._metrics.extract_failed(self._feed.source.type, extractor.type)
        return why

    def _forget(self) -> None:
        """What the last page told counts no longer once it is old."""
        counts = max(self._place.table.stale_after, 3.0 * self._period)
        if self._forgotten or not self._place.taken or self._clock() - self._read_at <= counts:
            return
        self._forgotten = True
        for extractor in self._feed.extractors:
            extractor.forget(self._place.row)

    def _tell(self, state: str, details: str) -> None:
        """Log a change of state, once."""
        if state == self._state:
            return
        self._state, before = state, self._state
        if not self._place.taken:
            return
        endpoint = self._place.table[self._place.row].id
        if state:
            log.warning("%s of %s is %s: %s", self._feed.source.name, endpoint, state, details)
        else:
            log.info("%s of %s is no longer %s", self._feed.source.name, endpoint, before)
