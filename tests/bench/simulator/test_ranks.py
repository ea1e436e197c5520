"""Several engines behind one port, and one engine behind each of several ports."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bench.simulator.flags import parser
from bench.simulator.fleet import configs
from bench.simulator.ranks import RANK_HEADER, Ranks
from bench.simulator.requests import Refused
from bench.simulator.telemetry import Gauges
from tests.fakes import simulated
from tests.fakes.simulated import CONNECTED, PREFILL, SMALL, Client

BODY = {"prompt": "abcd" * 100, "max_tokens": 3}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with simulated.replica(replace(SMALL, rank=4, ranks=3)) as running:
        yield running


def series(name: str, rank: int) -> str:
    return f'vllm:{name}{{engine="{rank}",model_name="tiny"}}'


async def test_one_page_has_a_series_for_each_rank(client: Client) -> None:
    _, page = await client.get("/metrics")
    for name in ("num_requests_running", "prompt_tokens_total", "time_to_first_token_seconds_count"):
        found = [line.split()[0] for line in page.splitlines() if line.startswith(f"vllm:{name}{{")]
        assert found == [series(name, rank) for rank in (4, 5, 6)]
    types = [line for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    names = [line.split()[0] for line in page.splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))


async def test_a_header_pins_a_local_rank(client: Client) -> None:
    for rank in ("2", "2", "0"):
        status, _ = await client.post("/v1/completions", BODY, **{RANK_HEADER: rank})
        assert status == 200
    samples = await client.samples()
    assert [samples[series("prompt_tokens_total", rank)] for rank in (4, 5, 6)] == [100, 0, 200]


@pytest.mark.parametrize("rank", ["3", "-1", "4"])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
async def test_a_rank_that_is_not_here_is_refused(rank: str, path: str, client: Client) -> None:
    status, answer = await client.post(path, {"prompt": "x", "input": "x"}, **{RANK_HEADER: rank})
    assert (status, answer["error"]["type"]) == (400, "BadRequestError")
    assert "out of range [0, 3)" in answer["error"]["message"]


async def test_what_is_no_number_is_ignored(client: Client) -> None:
    status, _ = await client.post("/v1/completions", BODY, **{RANK_HEADER: "two"})
    assert status == 200


async def test_a_single_engine_has_rank_zero_only() -> None:
    async with simulated.replica() as client:
        assert (await client.post("/v1/completions", BODY, **{RANK_HEADER: "0"}))[0] == 200
        assert (await client.post("/v1/completions", BODY, **{RANK_HEADER: "1"}))[0] == 400


def test_ranks_are_balanced_by_what_they_have_and_what_was_sent() -> None:
    ranks = Ranks(replace(SMALL, ranks=3))
    chosen = []
    for _ in range(4):
        chosen.append(ranks.choose({}))
        ranks.enter(chosen[-1])
    assert chosen == [0, 1, 2, 0]
    ranks.leave(1)
    assert ranks.choose({}) == 1


@pytest.mark.parametrize(
    ("gauges", "least"),
    [
        ((Gauges(5, 0), Gauges(3, 1), Gauges(3, 2)), 1),
        ((Gauges(5, 0, 0.9), Gauges(3, 1, 0.9), Gauges(6, 0, 0.1)), 0),
        ((Gauges(3, 1, 0.5), Gauges(5, 0), Gauges(9, 0)), 0),
    ],
)
def test_a_queue_weighs_more_where_the_cache_is_full(gauges: tuple[Gauges, ...], least: int) -> None:
    ranks = Ranks(replace(SMALL, ranks=3, speed=1e9))
    for replica, each in zip(ranks.replicas, gauges, strict=True):
        replica.telemetry.gauges = each
    assert ranks.choose({}) == least


def test_the_queues_are_looked_at_ten_times_a_second() -> None:
    ranks = Ranks(replace(SMALL, ranks=2, speed=1e-9))
    ranks.replicas[0].telemetry.gauges = Gauges(5, 0)
    assert ranks.choose({}) == 0


def test_a_pin_beats_the_load() -> None:
    ranks = Ranks(replace(SMALL, ranks=2))
    for _ in range(5):
        ranks.enter(1)
    assert ranks.choose({RANK_HEADER: "1"}) == 1
    with pytest.raises(Refused, match="out of range"):
        ranks.choose({RANK_HEADER: "2"})


async def test_each_rank_keeps_blocks_under_a_port_of_its_own() -> None:
    async with simulated.replicas(replace(CONNECTED, ranks=2), CONNECTED) as (several, other):
        sources = []
        for rank in ("0", "1"):
            body = BODY | {"max_tokens": 1, "kv_transfer_params": PREFILL}
            _, answer = await several.post("/v1/completions", body, **{RANK_HEADER: rank})
            sources.append(answer["kv_transfer_params"])
        assert len({source["remote_port"] for source in sources}) == 2
        assert len({source["remote_engine_id"] for source in sources}) == 2
        for source in sources:
            assert (await other.post("/v1/completions", BODY | {"kv_transfer_params": source}))[0] == 200


def test_flags_make_a_port_for_each_rank_or_one_for_all() -> None:
    def made(line: str) -> list[tuple[int, int, int, int]]:
        found = configs(parser().parse_args([*line.split(), "--kv-connector", "nixl"]))
        return [(c.rank, c.ranks, c.transfer.port if c.transfer else 0, c.engine.seed) for c in found]

    assert made("--data-parallel-size 2 --replicas 2") == [
        *((0, 1, 5600, 0), (1, 1, 5601, 1)),
        *((0, 1, 5602, 2), (1, 1, 5603, 3)),
    ]
    assert made("--data-parallel-size 2 --replicas 2 --data-parallel-mode internal --kv-port 7000") == [
        (0, 2, 7000, 0),
        (0, 2, 7002, 2),
    ]
    assert made("--data-parallel-size 8 --data-parallel-start-rank 4 --data-parallel-mode internal") == [
        (4, 4, 5600, 0)
    ]
    assert made("--data-parallel-size 8 --data-parallel-start-rank 4 --data-parallel-size-local 2") == [
        (4, 1, 5600, 0),
        (5, 1, 5601, 1),
    ]
    assert made("--port 0") == [(0, 1, 0, 0)]
