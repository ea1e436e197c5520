import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from endpoint_picker import aio
from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges, ServedModel
from endpoint_picker.datalayer.extract import CoreMetricsExtractor, ExtractorParameters
from endpoint_picker.datalayer.fetch import DEADLINE
from endpoint_picker.datalayer.models import ModelsExtractor
from endpoint_picker.datalayer.rounds import Place, left, pause
from endpoint_picker.datalayer.scrape import Feed, Scraper, periods
from endpoint_picker.datalayer.sources import MetricsParameters, MetricsSource, ModelsParameters, ModelsSource
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Extractor, Plugin, Wiring
from tests.fakes.engine import Engine, Mood, until, vllm_page


class Counts(Metrics):
    """Notes what the data layer counts."""

    def __init__(self) -> None:
        super().__init__()
        self.polls: list[str] = []
        self.extracts: list[tuple[str, str]] = []

    def poll_failed(self, source_type: str) -> None:
        self.polls.append(source_type)

    def extract_failed(self, source_type: str, extractor_type: str) -> None:
        self.extracts.append((source_type, extractor_type))


class Pool:
    """A scraper over a table, with a clock that stands still unless it is set."""

    def __init__(self, *, interval: float = 0.05, deadline: float = 30.0) -> None:
        self.now = 100.0
        self.table = EndpointTable(stale_after=2.0)
        self.counts = Counts()
        self.scraper = Scraper(
            self.table,
            self.counts,
            [feed(self.table, lambda: self.now)],
            clock=lambda: self.now,
            rng=random.Random(1),
            interval=interval,
            deadline=deadline,
        )

    def members(self, *engines: Engine) -> None:
        self.table.replace(engine.endpoint(f"e{number}") for number, engine in enumerate(engines))
        self.scraper.membership_changed()

    def row(self, name: str) -> int:
        row = self.table.row_of(f"default/{name}")
        assert row is not None
        return row

    def load(self, name: str, requests: int) -> None:
        """So many requests are in flight there."""
        self.table.in_flight[self.row(name)] = requests

    def fresh(self, name: str) -> bool:
        return bool(self.table.fresh(self.now)[self.row(name)])


def feed(table: EndpointTable, clock: Callable[[], float] = lambda: 0.0, **parameters: Any) -> Feed:
    wiring = Wiring(table, Metrics(), clock=clock)
    source = MetricsSource("metrics-data-source", MetricsParameters(**parameters), wiring)
    return Feed(source, (CoreMetricsExtractor("core-metrics-extractor", ExtractorParameters(), wiring),))


def loops() -> set[str]:
    return {name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("scraping")}


@asynccontextmanager
async def running(pool: Pool) -> AsyncIterator[Pool]:
    tasks = aio.Tasks()
    tasks.start("scraper", pool.scraper.run())
    try:
        yield pool
    finally:
        await tasks.close()
        await pool.scraper.close()


@asynccontextmanager
async def engines(count: int) -> AsyncIterator[Sequence[Engine]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Engine(vllm_page(waiting=n + 1))) for n in range(count)]


# === the table follows the pages ===


async def test_every_page_reaches_its_row() -> None:
    async with engines(3) as fleet, running(Pool()) as pool:
        pool.members(*fleet)
        assert await pool.scraper.first_pass(10)
        assert [pool.table.waiting[pool.row(f"e{n}")] for n in range(3)] == [1.0, 2.0, 3.0]
        fleet[1].page = vllm_page(waiting=9)
        await until(lambda: pool.table.waiting[pool.row("e1")] == 9.0)
        assert not pool.counts.polls


async def test_loops_follow_the_membership() -> None:
    async with engines(2) as (one, two), running(Pool()) as pool:
        pool.members(one)
        await until(lambda: one.scrapes > 1)
        assert two.scrapes == 0
        pool.table.replace([two.endpoint("two")])
        pool.scraper.membership_changed()
        await until(lambda: two.scrapes > 1)
        assert loops() == {"scraping default/two (metrics-data-source)"}
        await asyncio.sleep(0.01)
        before = one.scrapes
        await until(lambda: two.scrapes > 6)
        assert one.scrapes == before


async def test_a_change_that_nobody_announced_is_seen_too() -> None:
    async with engines(1) as (one,), running(Pool()) as pool:
        await asyncio.sleep(0)
        pool.table.replace([one.endpoint("quiet")])
        await until(lambda: one.scrapes > 0)


async def test_an_endpoint_that_moved_is_scraped_at_its_new_place() -> None:
    async with engines(2) as (one, two), running(Pool()) as pool:
        pool.members(one)
        await until(lambda: one.scrapes > 0)
        pool.table.replace([two.endpoint("e0")])
        pool.scraper.membership_changed()
        await until(lambda: pool.table.waiting[pool.row("e0")] == 2.0)


async def test_a_reading_for_a_row_that_changed_hands_is_dropped() -> None:
    async with engines(2) as (old, new):
        old.mood = "gated"
        pool = Pool()  # nobody runs its reconciler, so the loop of the old endpoint goes on
        pool.members(old)
        assert not await pool.scraper.first_pass(0.1)
        await until(lambda: old.scrapes == 1)
        pool.table.replace([new.endpoint("other")])  # the same row under another generation
        assert pool.row("other") == 0
        old.gate.set()
        (rounds,) = [rounds for rounds, _ in pool.scraper._rounds.values()]
        await rounds.tried.wait()
        assert np.isnan(pool.table.waiting[0])
        assert pool.table.updated_at[0] == -np.inf
        await pool.scraper.close()


async def test_the_engine_label_may_change_while_it_runs() -> None:
    async with engines(1) as (one,), running(Pool()) as pool:
        one.page += b"sglang:num_queue_reqs 77\n"
        pool.members(one)
        await pool.scraper.first_pass(10)
        pool.table.replace([one.endpoint("e0", **{"llm-d.ai/engine-type": "sglang"})])
        await until(lambda: pool.table.waiting[pool.row("e0")] == 77.0)


# === what goes wrong stays where it is ===


@pytest.mark.parametrize("mood", ["hang", "huge", "drip", "error", "redirect", "bomb", "nonsense", "cut"])
async def test_one_that_misbehaves_delays_nobody_and_turns_stale(mood: Mood) -> None:
    async with engines(3) as (bad, *good), running(Pool(deadline=30.0)) as pool:
        pool.members(bad, *good)
        await pool.scraper.first_pass(10)
        assert pool.fresh("e0")
        bad.mood = mood
        seen = bad.scrapes
        await until(lambda: bad.scrapes > seen)
        await asyncio.sleep(0.02)  # an answer that was under way may still be written
        pool.now += 10.0
        marks = [engine.scrapes for engine in good]
        await until(lambda: all(e.scrapes >= mark + 4 for e, mark in zip(good, marks, strict=True)))
        assert [pool.fresh(f"e{n}") for n in range(3)] == [False, True, True]
        candidates = pool.table.candidates(pool.now)
        waiting = candidates.waiting()[candidates.rows == pool.row("e0")][0]
        assert waiting == pytest.approx(2.5)  # neither idle nor full: as the others (2 and 3) are


@pytest.mark.parametrize("value", ["NaN", "-7", "+Inf"])
async def test_one_that_lies_counts_as_unknown(value: str) -> None:
    async with engines(2) as (liar, honest), running(Pool()) as pool:
        liar.page = vllm_page(waiting=value, running=value, kv=value)
        pool.members(liar, honest)
        await pool.scraper.first_pass(10)
        candidates = pool.table.candidates(pool.now)
        assert np.isnan(pool.table.waiting[pool.row("e0")])
        assert candidates.waiting().tolist() == [2.0, 2.0]
        assert not np.isnan(candidates.kv_usage()).any()


async def test_one_that_vanishes_turns_stale_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "endpoint_picker.datalayer.rounds")
    async with engines(1) as (engine,), running(Pool()) as pool:
        pool.members(engine)
        await pool.scraper.first_pass(10)
        await engine.vanish()
        await until(lambda: len(pool.counts.polls) >= 3)
        pool.now += 10.0
        assert not pool.fresh("e0")
        await engine.come_back()
        await until(lambda: pool.fresh("e0"))
    assert set(pool.counts.polls) == {"metrics-data-source"}
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2  # one word for each change of state, not for each failure
    assert "default/e0" in texts[0]
    assert "unavailable" in texts[0]
    assert "no longer unavailable" in texts[1]


async def test_a_page_that_tells_nothing_is_counted_and_does_not_refresh(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        engine.page = b"<html>welcome</html>"
        pool.members(engine)
        await until(lambda: len(pool.counts.extracts) >= 2)
        assert not pool.fresh("e0")
    assert set(pool.counts.extracts) == {("metrics-data-source", "core-metrics-extractor")}
    assert not pool.counts.polls
    (record,) = caplog.records
    assert "unreadable" in record.getMessage()


@pytest.mark.parametrize("in_flight", [0, 3])
async def test_failures_make_the_loop_slower(in_flight: int) -> None:
    async with engines(2) as (bad, good), running(Pool()) as pool:
        bad.mood = "error"
        pool.members(bad, good)
        pool.load("e0", in_flight)
        await until(lambda: good.scrapes >= 30)
        assert 1 <= bad.scrapes < 15


async def test_a_deadline_ends_a_reading_that_hangs() -> None:
    async with engines(1) as (engine,), running(Pool(deadline=0.05)) as pool:
        engine.mood = "hang"
        pool.members(engine)
        await until(lambda: pool.counts.polls)
        engine.mood = "fine"
        await until(lambda: pool.fresh("e0"))


async def test_a_defect_in_an_extractor_does_not_end_the_loop(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("endpoint_picker.datalayer.rounds.LONGEST_BACKOFF", 0.01)

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    async with engines(1) as (engine,), running(Pool()) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(CoreMetricsExtractor, "extract", broken)
            pool.members(engine)
            assert await pool.scraper.first_pass(10)
            await until(lambda: engine.scrapes >= 3)
        await until(lambda: pool.fresh("e0"))
    assert caplog.text.count("ZeroDivisionError: a defect") == 1
    assert "core-metrics-extractor: ZeroDivisionError" in caplog.text
    assert set(pool.counts.extracts) == {("metrics-data-source", "core-metrics-extractor")}


class Broken(Plugin):
    """`broken-extractor`: cannot read any page."""

    type = "broken-extractor"

    def extract(self, page: bytes, row: int) -> None:
        raise KeyError(row)

    def forget(self, row: int) -> None:
        raise KeyError(row)


class Noted(Plugin):
    """`noted-extractor`: notes what it is asked."""

    type = "noted-extractor"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(self.type, None, wiring)
        self.read: list[tuple[bytes, int]] = []
        self.forgotten: list[int] = []

    def extract(self, page: bytes, row: int) -> None:
        self.read.append((page, row))

    def forget(self, row: int) -> None:
        self.forgotten.append(row)


def noting(pool: Pool, *others: Extractor, **parameters: Any) -> Noted:
    """Lets an extractor that notes everything read the pages of the pool, after the others."""
    source = feed(pool.table, lambda: pool.now, **parameters).source
    noted = Noted(Wiring(pool.table, pool.counts))
    pool.scraper.change([Feed(source, (*others, noted))])
    return noted


async def test_one_extractor_that_fails_leaves_the_others_their_pages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        noted = noting(pool, Broken("broken", None, Wiring(pool.table, pool.counts)))
        pool.members(engine)
        await until(lambda: len(noted.read) >= 2)
        (rounds,) = [rounds for rounds, _ in pool.scraper._rounds.values()]
        assert await rounds._scrape()  # good, so the loop does not become slower
    assert noted.read[0] == (engine.page, 0)
    assert set(pool.counts.extracts) == {("metrics-data-source", "broken-extractor")}
    assert caplog.text.count("KeyError: 0") == 1


async def test_what_a_page_told_is_forgotten_once_when_it_is_old() -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        noted = noting(pool)
        pool.members(engine)
        await until(lambda: noted.read)
        await engine.vanish()
        await until(lambda: len(pool.counts.polls) >= 2)
        assert noted.forgotten == []
        pool.now += 2.5
        await until(lambda: noted.forgotten)
        await until(lambda: len(pool.counts.polls) >= 5)
        assert noted.forgotten == [0]
        await engine.come_back()
        count = len(noted.read)
        await until(lambda: len(noted.read) > count)
        await engine.vanish()
        await until(lambda: len(pool.counts.polls) >= 7)
        pool.now += 2.5
        await until(lambda: noted.forgotten == [0, 0])


async def test_a_page_that_comes_seldom_counts_for_longer() -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        noted = noting(pool, interval=3.0)
        pool.members(engine)
        await until(lambda: noted.read)
        (rounds,) = [rounds for rounds, _ in pool.scraper._rounds.values()]
        pool.now += 8.9
        rounds._forget()
        assert noted.forgotten == []
        pool.now += 0.2
        rounds._forget()
        assert noted.forgotten == [0]


async def test_an_endpoint_that_can_have_no_page_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        pool.table.replace([engine.endpoint("e0", metricsPort="none")])
        await until(lambda: pool.counts.polls)
        assert "label metricsPort: 'none' is not a port" in caplog.text
        pool.table.replace([engine.endpoint("e0")])
        await until(lambda: pool.fresh("e0"))


async def test_a_page_may_be_elsewhere() -> None:
    async with engines(2) as (gateway, publisher), running(Pool()) as pool:
        labels = {"metricsAddress": "127.0.0.1", "metricsPort": str(publisher.port)}
        pool.table.replace([gateway.endpoint("e0", **labels)])
        await until(lambda: pool.fresh("e0"))
        assert (gateway.scrapes, pool.table.waiting[0]) == (0, 2.0)
        pool.table.replace([gateway.endpoint("e0")])
        await until(lambda: pool.table.waiting[0] == 1.0)


async def test_feeds_that_do_the_same_under_another_name_are_other_feeds() -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        pool.members(engine)
        assert await pool.scraper.first_pass(10)
        wiring = Wiring(pool.table, pool.counts)
        for name in ("core-metrics-extractor", "core"):
            before = [rounds for rounds, _ in pool.scraper._rounds.values()]
            extractor = CoreMetricsExtractor(name, ExtractorParameters(), wiring)
            pool.scraper.change([Feed(feed(pool.table).source, (extractor,))])
            kept = before == [rounds for rounds, _ in pool.scraper._rounds.values()]
            assert kept == (name == "core-metrics-extractor")


async def test_each_feed_reads_its_own_page() -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        engine.models = b'{"data":[{"id":"base"}]}'
        wiring = Wiring(pool.table, pool.counts)
        models = ModelsSource("models", ModelsParameters(), wiring)
        first = feed(pool.table, lambda: pool.now)
        pool.scraper.change([first, Feed(models, (ModelsExtractor("models", None, wiring),))])
        pool.members(engine)
        assert await pool.scraper.first_pass(10)
        assert pool.fresh("e0")
        assert pool.table.models[0] == (ServedModel("base"),)


# === an endpoint with nothing to do ===


@pytest.fixture
def endless_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle endpoint is read once, and then never again unless it is roused."""
    monkeypatch.setattr("endpoint_picker.datalayer.rounds.IDLE_INTERVAL", 1e9)


@asynccontextmanager
async def idle_and_busy() -> AsyncIterator[tuple[Pool, Engine, Engine]]:
    """Two endpoints of a pool in which no reading turns stale: `e0` is idle, `e1` has a request waiting."""
    async with Engine(vllm_page()) as idle, Engine(vllm_page(waiting=1)) as busy, running(Pool()) as pool:
        pool.table.stale_after = 1e12
        pool.members(idle, busy)
        assert await pool.scraper.first_pass(10)
        yield pool, idle, busy


async def more(engine: Engine, readings: int) -> None:
    """Let the engine be read so many times more."""
    mark = engine.scrapes + readings
    await until(lambda: engine.scrapes >= mark)


@pytest.mark.usefixtures("endless_rest")
async def test_it_rests_while_others_are_read() -> None:
    async with idle_and_busy() as (_, idle, busy):
        await more(busy, 20)
        assert idle.scrapes == 1


@pytest.mark.usefixtures("endless_rest")
async def test_a_request_in_flight_rouses_it_until_that_ends() -> None:
    async with idle_and_busy() as (pool, idle, busy):
        await more(busy, 4)
        pool.load("e0", 1)
        await more(idle, 5)
        pool.load("e0", 0)
        await more(busy, 8)
        mark = idle.scrapes
        await more(busy, 20)
        assert idle.scrapes == mark


@pytest.mark.usefixtures("endless_rest")
async def test_a_request_elsewhere_does_not_rouse_it() -> None:
    async with idle_and_busy() as (pool, idle, busy):
        pool.load("e1", 1)
        await more(busy, 20)
        assert idle.scrapes == 1


@pytest.mark.usefixtures("endless_rest")
@pytest.mark.parametrize("page", [vllm_page(running=1), vllm_page(waiting=1), vllm_page(running="NaN")])
async def test_what_others_send_there_keeps_the_full_rate(page: bytes) -> None:
    async with Engine(page) as engine, running(Pool()) as pool:
        pool.table.stale_after = 1e12
        pool.members(engine)
        await until(lambda: engine.scrapes >= 8)


async def test_it_is_read_again_without_any_request() -> None:
    async with idle_and_busy() as (_, idle, _busy):
        await more(idle, 2)


@pytest.mark.parametrize(
    ("in_flight", "gauges", "idle"),
    [
        (0, Gauges(waiting=0.0, running=0.0, kv_usage=0.9), True),
        (1, Gauges(waiting=0.0, running=0.0), False),
        (0, Gauges(waiting=1.0, running=0.0), False),
        (0, Gauges(waiting=0.0, running=1.0), False),
        (0, Gauges(waiting=0.0, running=float("nan")), False),
        (0, Gauges(waiting=0.0), False),
        (0, Gauges(running=0.0), False),
    ],
)
def test_idle_is_what_ledger_and_gauges_agree_on(in_flight: int, gauges: Gauges, idle: bool) -> None:
    table = EndpointTable()
    table.replace([Endpoint("e0", "127.0.0.1", 1)])
    table.observe(0, gauges, 1.0)
    table.in_flight[0] = in_flight
    assert Place(table, 0, int(table.generation[0])).idle is idle


# === start and end ===


async def test_the_first_pass_counts_failures_as_tries() -> None:
    async with engines(2) as (gone, good), running(Pool()) as pool:
        await gone.vanish()
        pool.members(gone, good)
        assert await pool.scraper.first_pass(10)
        assert pool.fresh("e1")


async def test_the_first_pass_is_bounded() -> None:
    async with engines(1) as (engine,), running(Pool()) as pool:
        engine.mood = "hang"
        pool.members(engine)
        assert not await pool.scraper.first_pass(0.05)


async def test_the_first_pass_of_an_empty_pool_is_over_at_once() -> None:
    async with running(Pool()) as pool:
        assert await pool.scraper.first_pass(0.0)


async def test_nothing_is_scraped_after_close() -> None:
    async with engines(1) as (engine,):
        pool = Pool()
        pool.members(engine)
        assert await pool.scraper.first_pass(10)
        await pool.scraper.close()
        before = engine.scrapes
        pool.members(engine, engine)
        assert await pool.scraper.first_pass(0.05)
        await asyncio.sleep(0.1)
        assert engine.scrapes == before


@pytest.mark.parametrize(
    ("base", "intervals", "expected"),
    [
        (0.2, [None], [0.2]),
        (0.01, [None], [0.05]),
        (0.2, [None, 1.0], [0.2, 1.0]),
        (0.2, [None, 0.5], [0.2, 0.4]),
        (0.2, [None, 0.1], [0.1, 0.1]),
        (0.2, [None, 0.01], [0.05, 0.05]),
        (0.2, [5.0], [5.0]),
    ],
)
def test_intervals_are_multiples_of_one_tick(
    base: float, intervals: list[float | None], expected: list[float]
) -> None:
    sources = []
    for interval in intervals:
        source = feed(EndpointTable()).source
        source.interval = interval
        sources.append(source)
    assert periods(base, sources) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("period", "took", "idle", "stale_after", "expected"),
    [
        (0.2, 0.0, False, 2.0, 0.2),
        (0.2, 0.05, False, 2.0, 0.15),
        (0.2, 0.15, False, 2.0, 0.1),
        (0.2, 5.0, False, 2.0, 0.1),
        (0.2, 0.0, True, 2.0, 1.0),
        (0.2, 0.05, True, 2.0, 0.95),
        (0.2, 5.0, True, 2.0, 0.5),
        (0.2, 0.0, True, 60.0, 1.0),  # no longer than a second, however long a reading counts
        (0.2, 0.0, True, 1.0, 0.5),  # twice in the time for which a reading counts
        (0.2, 0.0, True, 0.1, 0.2),  # the interval rules: idle is never read more often than busy
        (3.0, 0.0, True, 2.0, 3.0),
    ],
)
def test_the_pause_after_a_reading(
    period: float, took: float, idle: bool, stale_after: float, expected: float
) -> None:
    assert pause(period, took, idle=idle, stale_after=stale_after) == pytest.approx(expected)


@pytest.mark.parametrize("took", [0.0, 0.3, 0.6, DEADLINE])
def test_a_reading_of_an_idle_endpoint_does_not_turn_stale_before_the_next(took: float) -> None:
    stale_after = EndpointTable().stale_after
    assert pause(0.2, took, idle=True, stale_after=stale_after) + DEADLINE <= stale_after


@pytest.mark.parametrize(
    ("rested", "expected"), [(0.0, 0.2), (0.05, 0.15), (0.19, 0.01), (0.25, 0.15), (0.95, 0.05)]
)
def test_a_rest_that_is_cut_short_ends_when_the_full_rate_would_have_read(
    rested: float, expected: float
) -> None:
    assert left(0.2, rested) == pytest.approx(expected)


def test_rounding_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = feed(EndpointTable()).source
    source.interval = 0.5
    periods(0.2, [source])
    assert "rounded to 0.4 s" in caplog.text
