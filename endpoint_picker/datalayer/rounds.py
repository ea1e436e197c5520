"""The loop that reads one page again and again, for the endpoints that are on it.

Mostly that is one. Data-parallel ranks behind one port are on one page, and it is had once for all of them.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from yarl import URL

from endpoint_picker import aio
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.datalayer.fetch import FetchError, Pages
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Extractor, Source

log = logging.getLogger(__name__)

LONGEST_BACKOFF: Final = 2.0
"""Seconds: a replica that is back is seen that soon."""
SPREAD: Final = 0.2
"""Seconds over which the first readings are spread."""
IDLE_INTERVAL: Final = 1.0
"""Seconds between two readings of an endpoint with nothing to do. We learn that late of the requests that
other pickers send there, where few of them change a choice; our own are in the ledger at once."""

Page = URL | str
"""Where a page is, or why there is none."""


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


class Rounds:
    """The loop of one page of a source and the endpoints on it, at least one of the same table."""

    def __init__(
        self,
        places: Sequence[Place],
        page: Page,
        source: Source,
        extractors: Sequence[Extractor],
        pages: Pages,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        period: float,
    ) -> None:
        self.tried = asyncio.Event()
        """Set once the page was asked for, with whatever outcome."""
        self.names = _names([place.table[place.row].id for place in places])
        """Of the endpoints, for people."""
        self._places = places
        self._page = page
        self._source = source
        self._extractors = extractors
        self._pages = pages
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._period = period
        self._table = places[0].table
        self._backoff = aio.Backoff(2.0 * period, max(LONGEST_BACKOFF, period), rng=rng, least=period)
        self._read_at = clock()
        """When the page was last had."""
        self._forgotten = False
        self._state = ""
        """What is wrong with the page in one word; empty: nothing."""
        self._resting = False
        """Whether the pause is as long as it is only because the endpoints are idle."""
        self._roused = asyncio.Event()

    async def run(self, name: str) -> None:
        """Read for ever."""
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
        if not self._taken():
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
        self._resting = all(place.idle for place in self._places)
        took = self._clock() - started
        seconds = pause(self._period, took, idle=self._resting, stale_after=self._table.stale_after)
        # From the first reading on they are spread over the whole pause.
        return seconds * self._rng.random() if first else seconds

    async def _scrape(self) -> bool:
        """Answers whether anybody could read the page."""
        try:
            page = await self._get()
        except FetchError as error:
            self._metrics.poll_failed(self._source.type)
            self._tell("unavailable", str(error))
            self._forget()
            return False
        readings = [(extractor, place) for place in self._taken() for extractor in self._extractors]
        if not readings:
            return True
        self._read_at, self._forgotten = self._clock(), False
        wrong = [why for extractor, place in readings if (why := self._extract(extractor, page, place.row))]
        self._tell("unreadable" if wrong else "", f"{self._page}: {'; '.join(dict.fromkeys(wrong))}")
        return len(wrong) < len(readings)

    async def _get(self) -> bytes:
        """Raises FetchError that names the page."""
        if isinstance(self._page, str):
            raise FetchError(self._page)
        try:
            return await self._pages.get(self._page, self._source.tls)
        except FetchError as error:
            raise FetchError(f"{self._page}: {error}") from error

    def _taken(self) -> list[Place]:
        """Those that still mean the endpoints that they meant."""
        return [place for place in self._places if place.taken]

    def _extract(self, extractor: Extractor, page: bytes, row: int) -> str:
        """Let the extractor read the page; answers what is wrong with it, or nothing.

        Whatever one of them raises, the others have their turn.
        """
        try:
            extractor.extract(page, row)
        except ValueError as error:
            why = str(error)
        except Exception as error:
            if not self._state:
                log.exception("%s cannot read the page %s", extractor.name, self._page)
            why = f"{extractor.name}: {type(error).__name__}"
        else:
            return ""
        self._metrics.extract_failed(self._source.type, extractor.type)
        return why

    def _forget(self) -> None:
        """What the last page told counts no longer once it is old."""
        counts = max(self._table.stale_after, 3.0 * self._period)
        if self._forgotten or self._clock() - self._read_at <= counts:
            return
        for place in self._taken():
            self._forgotten = True
            for extractor in self._extractors:
                extractor.forget(place.row)

    def _tell(self, state: str, details: str) -> None:
        """Log a change of state, once."""
        if state == self._state:
            return
        self._state, before = state, self._state
        if not self._taken():
            return
        if state:
            log.warning("%s of %s is %s: %s", self._source.name, self.names, state, details)
        else:
            log.info("%s of %s is no longer %s", self._source.name, self.names, before)


def _names(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"
