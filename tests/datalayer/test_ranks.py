"""Pages of data-parallel ranks: what each endpoint reads there."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker import aio
from endpoint_picker.config import strict
from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges
from endpoint_picker.datalayer.engines import BUILT_IN, EngineConfig
from endpoint_picker.datalayer.extract import CoreMetricsExtractor, ExtractorParameters, Reader
from endpoint_picker.datalayer.scrape import Feed, Scraper
from endpoint_picker.datalayer.series import ExtractError
from endpoint_picker.datalayer.sources import MetricsParameters, MetricsSource
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from tests.fakes.engine import Engine, until
from tests.fakes.ranked_page import Load, page, ranks_of

VLLM = next(engine for engine in BUILT_IN if engine.name == "vllm")
LOADS = [Load(1, 10, 0.1, 100), Load(2, 20, 0.2, 200), Load(3, 30, 0.3, 300), Load(4, 40, 0.4, 400)]


def load_of(gauges: Gauges) -> Load:
    assert gauges.waiting is not None
    assert gauges.running is not None
    assert gauges.kv_usage is not None
    return Load(int(gauges.waiting), int(gauges.running), gauges.kv_usage, gauges.num_blocks or 0)


# === one page, several ranks ===


@pytest.mark.parametrize("start", [0, 8])
@pytest.mark.parametrize("split", [True, False])
def test_a_rank_reads_its_own_series(start: int, split: bool) -> None:
    reader = Reader(VLLM)
    for rank, endpoint in enumerate(ranks_of(8000, 4, start=start, split=split)):
        gauges = reader.read(page(LOADS, start), endpoint)
        assert load_of(gauges) == LOADS[rank]
        assert (gauges.block_size, gauges.max_lora, gauges.lora_running) == (16, 4, frozenset({"a"}))


def test_an_endpoint_that_is_no_rank_reads_the_sum() -> None:
    summed = load_of(Reader(VLLM).read(page(LOADS), Endpoint("pod", "10.0.0.1", 8000)))
    assert (summed.waiting, summed.running, summed.blocks) == (10, 100, 1000)
    assert summed.kv == pytest.approx(0.25)


def test_a_rank_alone_on_its_page_need_not_be_called_what_we_call_it() -> None:
    """One page a port: whatever the engine calls itself, nobody else is there."""
    (_, endpoint) = ranks_of(8000, 2, split=False)
    assert load_of(Reader(VLLM).read(page([LOADS[0]], start=9), endpoint)) == LOADS[0]


def test_a_rank_with_its_own_port_that_finds_only_others_there_reads_their_sum() -> None:
    (endpoint,) = ranks_of(8000, 1, split=False)
    assert load_of(Reader(VLLM).read(page(LOADS[:2], start=8), endpoint)).waiting == 3


def test_a_rank_behind_a_shared_port_never_reads_the_load_of_others() -> None:
    reader = Reader(VLLM)
    *_, last = ranks_of(8000, 5)
    with pytest.raises(ExtractError, match=r'no load with engine="4"; is dataParallel'):
        reader.read(page(LOADS), last)
    with pytest.raises(ExtractError, match=r'engine="4"'):
        reader.read(b"vllm:num_requests_waiting 3\n", last)


def test_a_family_that_lacks_the_rank_says_nothing_of_it() -> None:
    first, second = ranks_of(8000, 2)
    text = b'vllm:num_requests_waiting{engine="1"} 3\nvllm:num_requests_running{engine="0"} 5\n'
    gauges = Reader(VLLM).read(text, second)
    assert (gauges.waiting, gauges.running) == (3.0, None)
    gauges = Reader(VLLM).read(text, first)
    assert (gauges.waiting, gauges.running) == (None, 5.0)


def test_one_rank_that_lies_is_the_only_one_not_known() -> None:
    reader = Reader(VLLM)
    text = page([Load(-1), Load(2)])
    first, second = ranks_of(8000, 2)
    assert math.isnan(reader.read(text, first).waiting or 0.0)
    assert reader.read(text, second).waiting == 2.0


def test_engines_that_mean_something_else_by_the_label_are_read_as_they_are() -> None:
    reader = Reader(EngineConfig(name="other", queued_requests_spec="q"))
    text = b'q{engine="7"} 1\nq{engine="1"} 2\n'
    assert reader.read(text, ranks_of(8000, 2, split=False)[1]).waiting == 1.0
    assert reader.read(text, ranks_of(8000, 2, split=True)[1]).waiting == 2.0


@pytest.mark.parametrize(
    ("sizes", "expected"), [(["7", "5"], 12), (["7", "None"], 0), (["7", "0"], 0), (["7"], 7)]
)
def test_the_caches_of_all_ranks_add_up_if_all_are_known(sizes: list[str], expected: int) -> None:
    lines = [
        f'vllm:cache_config_info{{block_size="16",engine="{rank}",num_gpu_blocks="{size}"}} 1'
        for rank, size in enumerate(sizes)
    ]
    assert Reader(VLLM).read("\n".join(lines).encode()).num_blocks == expected


LOAD = st.builds(
    Load,
    waiting=st.integers(0, 10_000),
    running=st.integers(0, 10_000),
    kv=st.floats(0.0, 1.0),
    blocks=st.integers(1, 1_000_000),
)


@settings(deadline=None)
@given(loads=st.lists(LOAD, min_size=1, max_size=16), start=st.integers(0, 100))
def test_what_the_ranks_read_adds_up_to_what_the_page_says_of_all(loads: list[Load], start: int) -> None:
    reader, text = Reader(VLLM), page(loads, start)
    whole = load_of(reader.read(text))
    parts = [load_of(reader.read(text, each)) for each in ranks_of(8000, len(loads), start=start)]
    assert parts == loads
    assert whole.waiting == sum(part.waiting for part in parts)
    assert whole.running == sum(part.running for part in parts)
    assert whole.blocks == sum(part.blocks for part in parts)
    assert whole.kv == pytest.approx(sum(part.kv for part in parts) / len(parts))


# === metrics of ones own ===


def test_a_custom_metric_is_read_by_rank_too() -> None:
    custom = [{"attributeKey": key, "metricSpec": key} for key in ("ranked", "shared")]
    parameters: dict[str, Any] = {"engineConfigs": [{"name": "vllm", "customMetrics": custom}]}
    decoded = strict.decode(parameters, ExtractorParameters, where="c.yaml")
    table = EndpointTable()
    table.replace(ranks_of(8000, 2))
    plugin = CoreMetricsExtractor("core", decoded, Wiring(table, Metrics()))
    text = b'ranked{engine="0"} 1\nranked{engine="1"} 2\nshared 3\n'
    for row in (0, 1):
        plugin.extract(text, row)
    for key, expected in (("ranked", [1.0, 2.0]), ("shared", [3.0, 3.0])):
        values = table.scalar(key, "core")
        assert values is not None
        assert values[:2].tolist() == expected


# === one scrape for all of them ===


class Source(MetricsSource):
    """Fails where it is told to, as a source of somebody else's might."""

    broken = False

    def url(self, endpoint: Endpoint) -> Any:
        if self.broken:
            raise ZeroDivisionError("a defect")
        return super().url(endpoint)


class Scraped:
    """A table whose pages are read; its clock stands still."""

    def __init__(self) -> None:
        self.table = EndpointTable(stale_after=2.0)
        wiring = Wiring(self.table, Metrics(), clock=lambda: 100.0)
        self.source = Source("metrics", MetricsParameters(), wiring)
        extractor = CoreMetricsExtractor("core", ExtractorParameters(), wiring)
        self.scraper = Scraper(
            self.table,
            wiring.metrics,
            [Feed(self.source, (extractor,))],
            clock=wiring.clock,
            rng=random.Random(1),
            interval=0.05,
            deadline=30.0,
        )

    def members(self, *endpoints: Endpoint) -> None:
        self.table.replace(endpoints)
        self.scraper.membership_changed()

    def waiting(self) -> dict[str, float]:
        rows = self.table.live.tolist()
        return {self.table[row].name: float(self.table.waiting[row]) for row in rows}


@asynccontextmanager
async def scraping() -> AsyncIterator[Scraped]:
    scraped, tasks = Scraped(), aio.Tasks()
    tasks.start("scraper", scraped.scraper.run())
    try:
        yield scraped
    finally:
        await tasks.close()
        await scraped.scraper.close()


def loops() -> list[str]:
    return [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("scraping")]


@pytest.mark.parametrize("start", [0, 4])
async def test_four_ranks_behind_one_port_cost_one_request(start: int) -> None:
    async with Engine(page(LOADS, start)) as engine, scraping() as scraped:
        scraped.members(*ranks_of(engine.port, 4, start=start))
        assert await scraped.scraper.first_pass(10)
        assert engine.scrapes == 1
        assert scraped.waiting() == {f"pod-rank-{rank}": rank + 1 for rank in range(4)}
        assert scraped.table.running[:4].tolist() == [10, 20, 30, 40]
        assert scraped.table.num_blocks[:4].tolist() == [100, 200, 300, 400]
        assert loops() == ["scraping default/pod-rank-0 and 3 more (metrics)"]
        engine.page = page([*LOADS[:3], Load(waiting=9)], start)
        await until(lambda: scraped.waiting()["pod-rank-3"] == 9.0)


async def test_ranks_that_stay_keep_their_readings_when_others_go() -> None:
    async with Engine(page(LOADS)) as engine, scraping() as scraped:
        ranks = ranks_of(engine.port, 4)
        scraped.members(*ranks)
        assert await scraped.scraper.first_pass(10)
        engine.mood = "hang"
        scraped.members(ranks[1], ranks[3])
        assert scraped.waiting() == {"pod-rank-1": 2.0, "pod-rank-3": 4.0}
        await until(lambda: loops() == ["scraping default/pod-rank-1 and 1 more (metrics)"])
        engine.mood, engine.page = "fine", page([Load(7)] * 4)
        await until(lambda: scraped.waiting() == {"pod-rank-1": 7.0, "pod-rank-3": 7.0})


async def test_ranks_with_ports_of_their_own_are_read_apart() -> None:
    async with (
        Engine(page(LOADS[:1])) as one,
        Engine(page(LOADS[1:2], start=1)) as two,
        scraping() as scraped,
    ):
        (first, _), (_, second) = (ranks_of(port, 2, split=False) for port in (one.port, two.port - 1))
        scraped.members(first, second)
        assert await scraped.scraper.first_pass(10)
        assert scraped.waiting() == {"pod-rank-0": 1.0, "pod-rank-1": 2.0}
        assert len(loops()) == 2


async def test_a_page_that_a_supervisor_shows_for_all_ports_is_had_once() -> None:
    async with Engine(page(LOADS)) as supervisor, scraping() as scraped:
        labels = {"metricsPort": str(supervisor.port)}
        scraped.members(
            *(
                Endpoint(f"pod-rank-{rank}", "127.0.0.1", 1 + rank, labels=labels, pod="pod", rank=rank)
                for rank in range(4)
            )
        )
        assert await scraped.scraper.first_pass(10)
        assert supervisor.scrapes == 1
        assert scraped.waiting() == {f"pod-rank-{rank}": rank + 1 for rank in range(4)}


async def test_a_rank_that_the_page_lacks_is_told_of_and_the_others_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Engine(page(LOADS[:2])) as engine, scraping() as scraped:
        scraped.members(*ranks_of(engine.port, 3))
        assert await scraped.scraper.first_pass(10)
        assert scraped.table.fresh(100.0)[:3].tolist() == [True, True, False]
        assert np.isnan(scraped.table.waiting[2])
    (record,) = caplog.records
    assert "is unreadable: http://127.0.0.1:" in record.getMessage()
    assert 'no load with engine="2"' in record.getMessage()


@pytest.mark.parametrize("in_flight", [0, 1])
async def test_one_busy_rank_keeps_the_page_of_all_at_the_full_rate(
    in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("endpoint_picker.datalayer.rounds.IDLE_INTERVAL", 1e9)
    seen_by_others = Load(running=1 - in_flight)
    async with Engine(page([Load(), Load(), seen_by_others])) as engine, scraping() as scraped:
        scraped.table.stale_after = 1e12
        scraped.members(*ranks_of(engine.port, 3))
        assert await scraped.scraper.first_pass(10)
        scraped.table.in_flight[2] = in_flight
        await until(lambda: engine.scrapes >= 5)


async def test_a_source_with_a_defect_leaves_the_scraper_alive(caplog: pytest.LogCaptureFixture) -> None:
    async with Engine(page(LOADS)) as engine, scraping() as scraped:
        scraped.source.broken = True
        scraped.members(*ranks_of(engine.port, 1))
        assert await scraped.scraper.first_pass(10)
        assert "metrics cannot tell where the page of default/pod-rank-0 is" in caplog.text
        assert "is unavailable: metrics: ZeroDivisionError" in caplog.text
        scraped.source.broken = False
        scraped.members(*ranks_of(engine.port, 2))
        await until(lambda: scraped.waiting().get("pod-rank-1") == 2.0)
