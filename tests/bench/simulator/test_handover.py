"""Prefill on one replica and decode on another, over HTTP: what clients and scrapers see of it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.simulator import nixl
from bench.simulator.config import ReplicaConfig, TransferConfig
from bench.simulator.replica import Replica
from bench.simulator.sequence import Phase, Sequence
from bench.simulator.tickets import Ticket
from tests.fakes import simulated
from tests.fakes.simulated import CONNECTED, PREFILL, SMALL, Client, prefill

ROOT = Path(__file__).parents[3]
BODY: dict[str, Any] = {"prompt": "abcd" * 200, "max_tokens": 5}
"""A prompt of 200 tokens, in 7 blocks of 32."""
USAGE = "vllm:kv_cache_usage_perc"


async def becomes(client: Client, name: str, value: float) -> None:
    """Wait until a series has a value."""
    for _ in range(2000):
        if await client.sample(name) == pytest.approx(value):
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{name} never became {value}")


def connected(**changes: Any) -> ReplicaConfig:
    return replace(CONNECTED, transfer=TransferConfig(port=0, **changes))


async def test_the_answer_is_that_of_a_single_replica() -> None:
    async with simulated.replicas(SMALL, CONNECTED, CONNECTED) as (alone, first, second):
        _, want = await alone.post("/v1/completions", BODY)
        _, body = await prefill(first, "/v1/completions", BODY)
        _, got = await second.post("/v1/completions", body)
        assert got["choices"] == want["choices"]
        chunks = await second.stream(
            "/v1/completions", (await prefill(first, "/v1/completions", BODY))[1] | {"stream": True}
        )
        text = "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1])
        assert text == want["choices"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "abcd" * 200}], "max_tokens": 5}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "abcd" * 200}], "max_tokens": 5}),
    ],
)
async def test_other_dialects_hand_over_too(path: str, body: dict[str, Any]) -> None:
    async with simulated.replicas(CONNECTED, CONNECTED) as (first, second):
        _, later = await prefill(first, path, body)
        status, _ = await second.post(path, later)
        tokens = later["kv_transfer_params"]["remote_num_tokens"]
        assert (status, await second.sample("vllm:external_prefix_cache_hits_total")) == (200, tokens)


async def test_responses_and_generate_hand_over_too() -> None:
    ids = {"token_ids": [300] * 200, "sampling_params": {"max_tokens": 1}}
    async with simulated.replicas(CONNECTED, CONNECTED) as (first, second):
        for path, body in (
            ("/v1/responses", {"input": "abcd" * 200, "max_output_tokens": 1}),
            ("/inference/v1/generate", ids),
        ):
            _, answer = await first.post(path, body | {"kv_transfer_params": PREFILL})
            status, _ = await second.post(path, body | {"kv_transfer_params": answer["kv_transfer_params"]})
            assert status == 200
        assert await second.sample("vllm:nixl_bytes_transferred_count") == 2


async def test_blocks_are_kept_until_the_other_replica_has_them() -> None:
    async with simulated.replicas(CONNECTED, CONNECTED) as (first, second):
        _, body = await prefill(first, "/v1/completions", BODY)
        assert await first.sample(USAGE) == pytest.approx(7 / 256)
        assert await first.sample("vllm:num_requests_running") == 0
        await second.post("/v1/completions", body)
        await becomes(first, USAGE, 0)
        assert await first.sample("vllm:nixl_num_kv_expired_reqs_total") == 0


async def test_what_the_decode_replica_counts() -> None:
    async with simulated.replicas(CONNECTED, CONNECTED) as (first, second):
        _, body = await prefill(first, "/v1/completions", BODY)
        await second.post("/v1/completions", body)
        samples = await second.samples()
        labels = 'engine="0",model_name="tiny"'
        expected = {
            f"vllm:external_prefix_cache_queries_total{{{labels}}}": 200,
            f"vllm:external_prefix_cache_hits_total{{{labels}}}": 200,
            f"vllm:prefix_cache_hits_total{{{labels}}}": 0,
            f'vllm:prompt_tokens_by_source_total{{{labels},source="external_kv_transfer"}}': 200,
            f'vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}}': 0,
            f'vllm:prompt_tokens_cached_by_source_total{{{labels},source="p2p"}}': 200,
            f"vllm:prompt_tokens_cached_total{{{labels}}}": 200,
            f"vllm:request_prefill_kv_computed_tokens_sum{{{labels}}}": 1,
            f"vllm:nixl_xfer_time_seconds_sum{{{labels}}}": 0.002 + 200 * 256 * 1024 / 25e9,
            f"vllm:nixl_bytes_transferred_sum{{{labels}}}": 200 * 256 * 1024,
            f"vllm:nixl_num_descriptors_sum{{{labels}}}": 7,
            f"vllm:nixl_num_failed_transfers_total{{{labels}}}": 0,
        }
        assert {name: samples[name] for name in expected} == pytest.approx(expected)
        assert samples[f"vllm:time_to_first_token_seconds_sum{{{labels}}}"] > 0.002 + 0.014


async def test_usage_tells_what_the_prefill_replica_had_in_its_cache() -> None:
    async with simulated.replicas(CONNECTED, CONNECTED) as (first, second):
        await first.post("/v1/completions", BODY)
        _, body = await prefill(first, "/v1/completions", BODY)
        assert body["kv_transfer_params"]["remote_prefill_cached_tokens"] == 192
        _, told = await second.post("/v1/completions", body)
        assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 192
        _, body = await prefill(first, "/v1/completions", BODY | {"prompt": "dcba" * 200})
        del body["kv_transfer_params"]["remote_prefill_cached_tokens"]
        _, untold = await second.post("/v1/completions", body)
        assert untold["usage"]["prompt_tokens_details"]["cached_tokens"] == 200


async def test_a_stream_hands_over_with_its_last_token() -> None:
    async with simulated.replica(CONNECTED) as client:
        body = BODY | {"stream": True, "max_tokens": 2, "kv_transfer_params": PREFILL}
        chunks = await client.stream("/v1/completions", body)
        assert ["kv_transfer_params" in chunk for chunk in chunks[:-1]] == [False, True]
        # The token sampled last has no entries yet.
        assert chunks[1]["kv_transfer_params"]["remote_num_tokens"] == 201


async def test_without_a_connector_the_parameters_mean_nothing() -> None:
    async with simulated.replica() as client:
        for params in (PREFILL, {"do_remote_prefill": True, "remote_engine_id": "e"}):
            status, answer = await client.post("/v1/completions", BODY | {"kv_transfer_params": params})
            assert (status, answer["kv_transfer_params"]) == (200, None)
        assert await client.sample(USAGE) == 0
        assert "nixl" not in (await client.get("/metrics"))[1]


@pytest.mark.parametrize("params", [1, "x", [1], True])
async def test_parameters_must_be_an_object(params: object) -> None:
    async with simulated.replica(CONNECTED) as client:
        for path, body in (("/v1/completions", BODY), ("/v1/messages", {"messages": [{}], "max_tokens": 1})):
            status, answer = await client.post(path, body | {"kv_transfer_params": params})
            assert status == 400
            assert "kv_transfer_params" in answer["error"]["message"]


async def test_a_lease_that_nobody_asks_for_ends() -> None:
    # Thirty virtual seconds are 0.3 of the wall clock here.
    async with simulated.replicas(connected(lease_s=30.0), CONNECTED) as (first, second):
        _, body = await prefill(first, "/v1/completions", BODY)
        await becomes(first, "vllm:nixl_num_kv_expired_reqs_total", 1)
        await becomes(first, USAGE, 0)
        status, answer = await second.post("/v1/completions", body)
        assert (status, answer["error"]["type"]) == (500, "InternalServerError")
        assert "expired" in answer["error"]["message"]
        assert await second.sample("vllm:nixl_num_failed_transfers_total") == 1
        assert await second.sample(USAGE) == 0
        ended = 'vllm:request_success_total{engine="0",finished_reason="error",model_name="tiny"}'
        assert (await second.samples())[ended] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"remote_request_id": "cmpl-other"},
        {"remote_engine_id": "00000000-0000-0000-0000-000000000000"},
        {"remote_port": 1},
        {"remote_port": -7},
        {"remote_port": {"a": 1}},
        {"remote_host": "no host \u2603"},
    ],
)
async def test_what_is_not_there_fails_or_is_computed_as_configured(changes: dict[str, Any]) -> None:
    async with simulated.replicas(CONNECTED, connected(recompute=True), CONNECTED) as (failing, own, first):
        _, body = await prefill(first, "/v1/completions", BODY)
        body = body | {"kv_transfer_params": body["kv_transfer_params"] | changes}
        status, _ = await failing.post("/v1/completions", body)
        assert status == 500
        status, answer = await own.post("/v1/completions", body)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 5)
        for client in (failing, own):
            assert await client.sample("vllm:nixl_num_failed_transfers_total") == 1
            assert await client.sample(USAGE) == 0
        local = 'vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="local_compute"}'
        assert (await own.samples())[local] == 200


async def test_another_prompt_than_the_one_computed_fails() -> None:
    async with simulated.replicas(CONNECTED, CONNECTED) as (first, second):
        _, body = await prefill(first, "/v1/completions", BODY)
        status, answer = await second.post("/v1/completions", body | {"prompt": "abcd" * 300})
        assert status == 500
        assert "another prompt" in answer["error"]["message"]


async def test_a_failure_ends_a_stream_with_an_error() -> None:
    async with simulated.replica(CONNECTED) as client:
        source = ("e", "r", "127.0.0.1", 1)
        params = nixl.handover(source, blocks=[1], tokens=200, cached=0)
        body = BODY | {"stream": True, "kv_transfer_params": params}
        chunks = await client.stream("/v1/completions", body)
        assert [chunk["error"]["code"] for chunk in chunks[:-1]] == [500]
        assert chunks[-1] == "[DONE]"
        said = {"messages": [{"role": "user"}], "max_tokens": 2, "stream": True, "kv_transfer_params": params}
        assert (await client.stream("/v1/messages", said))[-1]["type"] == "error"
        status, answer = await client.post("/v1/messages", said | {"stream": False})
        assert (status, answer["error"]["type"]) == (500, "InternalServerError")
        asked = {"input": "x", "stream": True, "kv_transfer_params": params}
        assert (await client.stream("/v1/responses", asked))[-1]["type"] == "response.failed"


async def test_incomplete_parameters_are_computed_here() -> None:
    async with simulated.replica(CONNECTED) as client:
        params = {"do_remote_prefill": True, "remote_engine_id": "e"}
        status, answer = await client.post("/v1/completions", BODY | {"kv_transfer_params": params})
        assert (status, answer["kv_transfer_params"]) == (200, None)
        assert await client.sample("vllm:external_prefix_cache_queries_total") == 200
        assert await client.sample("vllm:external_prefix_cache_hits_total") == 0


async def test_a_request_that_waits_for_entries_is_deferred() -> None:
    # The transfer does not end within this test.
    async with simulated.replicas(connected(lease_s=30.0), connected(latency_s=1e6)) as (first, second):
        _, body = await prefill(first, "/v1/completions", BODY)
        asked = asyncio.create_task(second.post("/v1/completions", body))
        await becomes(second, "vllm:num_requests_waiting", 1)
        samples = await second.samples()
        by_reason = [
            samples[f'vllm:num_requests_waiting_by_reason{{engine="0",model_name="tiny",reason="{reason}"}}']
            for reason in ("capacity", "deferred")
        ]
        assert by_reason == [0, 1]
        assert await second.sample(USAGE) == pytest.approx(7 / 256)
        # The lease would have ended by now if nobody fetched its blocks.
        await asyncio.sleep(0.5)
        assert await first.sample(USAGE) == pytest.approx(7 / 256)
        asked.cancel()
        await becomes(second, USAGE, 0)
        await becomes(second, "vllm:num_requests_waiting", 0)
        await becomes(first, USAGE, 0)
        assert await first.sample("vllm:nixl_num_kv_expired_reqs_total") == 0


async def test_a_prefill_whose_client_goes_away_keeps_nothing() -> None:
    async with simulated.replica(replace(CONNECTED, speed=1.0)) as client:
        body = BODY | {"max_tokens": 4000 - 200, "kv_transfer_params": PREFILL}
        asked = asyncio.create_task(client.post("/v1/completions", body))
        await becomes(client, "vllm:num_requests_running", 1)
        asked.cancel()
        await becomes(client, "vllm:num_requests_running", 0)
        assert await client.sample(USAGE) == 0


async def test_a_client_that_goes_away_in_the_last_step_leaves_nothing_kept() -> None:
    config = replace(CONNECTED, speed=0.1)
    replica = Replica(config)
    sequence = Sequence(200, 1, keep=True)
    ticket = Ticket(sequence=sequence, changed=asyncio.Event(), name="r")
    async with replica.running():
        replica.submit(ticket)
        while sequence.phase is not Phase.FINISHED:
            await asyncio.sleep(0)
        # The step that computed it still lasts, so nobody knows the answer yet.
        replica.abort(ticket)
        while not replica.telemetry.totals.finished["abort"]:
            await asyncio.sleep(0.005)
        assert replica.engine.cache.free == config.engine.num_blocks


# === processes ===


@dataclass
class Program:
    """A simulator that is a process of its own."""

    process: asyncio.subprocess.Process
    client: Client


@asynccontextmanager
async def program(*flags: str) -> AsyncIterator[Program]:
    size = ("--model", "tiny", "--block-size", "32", "--max-model-len", "4096", "--kv-connector", "nixl")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.simulator", "--port", "0", *size, *flags),
        cwd=ROOT,
        env=os.environ,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        said = (await process.stdout.readline()).decode().split()
        async with aiohttp.ClientSession() as session:
            yield Program(process, Client(session, f"http://{said[1]}"))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_two_processes_hand_over_and_a_dead_one_fails() -> None:
    decoding = simulated.replicas(CONNECTED, connected(latency_s=1e6))
    async with program("--role", "prefill") as first, decoding as (second, slow):
        _, body = await prefill(first.client, "/v1/completions", BODY)
        status, answer = await second.post("/v1/completions", body)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 5)
        await becomes(first.client, USAGE, 0)
        _, body = await prefill(first.client, "/v1/completions", BODY)
        asked = asyncio.create_task(slow.post("/v1/completions", body))
        await becomes(slow, "vllm:num_requests_waiting", 1)
        # In the middle of a transfer that would take hours.
        first.process.send_signal(signal.SIGKILL)
        status, answer = await asked
        assert (status, answer["error"]["code"]) == (500, 500)
        await first.process.wait()
        status, answer = await second.post("/v1/completions", body)
        assert status == 500
        assert "no prefill replica at" in answer["error"]["message"]


async def test_a_dead_decode_replica_leaves_its_blocks_to_the_lease() -> None:
    async with simulated.replica(connected(lease_s=200.0)) as first:
        async with program("--kv-transfer-latency", "10000") as slow:
            _, body = await prefill(first, "/v1/completions", BODY)
            asked = asyncio.create_task(slow.client.post("/v1/completions", body))
            await becomes(slow.client, "vllm:num_requests_waiting", 1)
            assert await first.sample("vllm:nixl_num_kv_expired_reqs_total") == 0
            slow.process.send_signal(signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await asked
        await becomes(first, "vllm:nixl_num_kv_expired_reqs_total", 1)
        await becomes(first, USAGE, 0)
