"""The replica over HTTP: what clients and scrapers can see of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.simulator.config import ReplicaConfig
from bench.simulator.requests import CompletionBody, Refused, decode
from bench.simulator.tokenizer import encode
from tests.fakes import simulated
from tests.fakes.simulated import SMALL, Client

LONG = {"prompt": "long", "max_tokens": 4000, "stream": True}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with simulated.replica() as running:
        yield running


async def becomes(client: Client, name: str, value: float) -> None:
    """Wait until a gauge has a value."""
    for _ in range(2000):
        if await client.sample(name) == value:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{name} never became {value}")


async def test_the_id_carries_the_request_id(client: Client) -> None:
    _, answer = await client.post("/v1/completions", {"prompt": "x"}, **{"X-Request-Id": "r-1"})
    assert answer["id"] == "cmpl-r-1"
    _, answer = await client.post(
        "/v1/chat/completions", {"messages": [{"role": "user"}]}, **{"X-Request-Id": "r"}
    )
    assert answer["id"] == "chatcmpl-r"


async def test_a_completion_has_sixteen_tokens_unless_told(client: Client) -> None:
    _, answer = await client.post("/v1/completions", {"prompt": "x"})
    assert answer["usage"]["completion_tokens"] == 16
    assert len(encode(answer["choices"][0]["text"])) == 16


async def test_a_stream_says_what_the_whole_answer_says(client: Client) -> None:
    body = {"prompt": "same", "max_tokens": 7}
    _, whole = await client.post("/v1/completions", body)
    chunks = await client.stream("/v1/completions", body | {"stream": True})
    assert chunks[-1] == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == whole["choices"][0]["text"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 6 + ["length"]


async def test_an_answer_without_a_limit_ends_by_itself(client: Client) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
    _, short = await client.post("/v1/chat/completions", body)
    assert short["choices"][0]["finish_reason"] == "stop"
    assert 1 <= short["usage"]["completion_tokens"] < 3500
    least = short["usage"]["completion_tokens"] + 10
    _, longer = await client.post("/v1/chat/completions", body | {"min_tokens": least})
    assert longer["usage"]["completion_tokens"] == least


async def test_ignore_eos_fills_the_context() -> None:
    async with simulated.replica(replace(SMALL, max_model_len=128)) as client:
        body = {"messages": [{"role": "user", "content": "hi"}], "ignore_eos": True}
        _, answer = await client.post("/v1/chat/completions", body)
        assert answer["usage"]["total_tokens"] == 128
        assert answer["choices"][0]["finish_reason"] == "length"


async def test_the_next_turn_finds_prompt_and_answer_in_the_cache(client: Client) -> None:
    turns: list[dict[str, Any]] = [{"role": "user", "content": "a" * 400}]
    _, first = await client.post("/v1/chat/completions", {"messages": turns, "max_tokens": 100})
    turns += [first["choices"][0]["message"], {"role": "user", "content": "and?"}]
    _, second = await client.post("/v1/chat/completions", {"messages": turns, "max_tokens": 1})
    assert (
        second["usage"]["prompt_tokens_details"]["cached_tokens"] == 192
    )  # 208 tokens before, in blocks of 32


@pytest.mark.parametrize("changes", [{"cache_salt": "s"}, {"model": "lora-a"}])
async def test_salts_and_adapters_have_caches_of_their_own(changes: dict[str, str]) -> None:
    config = replace(SMALL, loras=("lora-a",), engine=replace(SMALL.engine, max_loras=1))
    async with simulated.replica(config) as client:
        body = {"prompt": "a" * 512, "max_tokens": 1}
        cached = []
        for each in (body, body, body | changes, body | changes):
            _, answer = await client.post("/v1/completions", each)
            cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        assert cached == [0, 96, 0, 96]


async def test_several_prompts_and_several_answers(client: Client) -> None:
    body = {"prompt": ["one", "three"], "n": 2, "max_tokens": 3}
    _, answer = await client.post("/v1/completions", body)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert len({choice["text"] for choice in answer["choices"]}) == 4
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (1 + 2, 12)
    texts = ["", "", "", ""]
    for chunk in (await client.stream("/v1/completions", body | {"stream": True}))[:-1]:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == [choice["text"] for choice in answer["choices"]]


async def test_continuous_usage_counts_up_in_a_chat(client: Client) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"messages": [{"role": "user"}], "max_tokens": 3, "stream": True, "stream_options": options}
    chunks = await client.stream("/v1/chat/completions", body)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks[:-1]] == [0, 1, 2, 3, 3]


async def test_messages_stream_in_anthropic_events(client: Client) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "system": "be brief", "max_tokens": 2}
    _, whole = await client.post("/v1/messages", body)
    got = await client.stream("/v1/messages", body | {"stream": True})
    assert [event["type"] for event in got] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert got[2]["delta"]["text"] + got[3]["delta"]["text"] == whole["content"][0]["text"]
    assert (got[5]["usage"]["output_tokens"], got[5]["delta"]["stop_reason"]) == (2, "max_tokens")
    assert got[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]


async def test_messages_refuse_in_anthropic_form(client: Client) -> None:
    status, answer = await client.post("/v1/messages", {"messages": [{"role": "user"}]})
    assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "Bad Request")
    assert "max_tokens" in answer["error"]["message"]


async def test_responses_stream_ends_with_the_whole_answer(client: Client) -> None:
    body = {"input": "hi", "instructions": "be brief", "max_output_tokens": 3}
    _, whole = await client.post("/v1/responses", body)
    got = await client.stream("/v1/responses", body | {"stream": True})
    assert [event["sequence_number"] for event in got] == list(range(len(got)))
    text = "".join(event["delta"] for event in got if event["type"] == "response.output_text.delta")
    assert got[-1]["type"] == "response.completed"
    assert text == got[-1]["response"]["output"][0]["content"][0]["text"]
    assert got[-1]["response"]["usage"] == whole["usage"]
    assert whole["usage"]["output_tokens"] == 3


async def test_generate_takes_and_gives_token_ids(client: Client) -> None:
    body = {"token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 3}}
    _, whole = await client.post("/inference/v1/generate", body)
    chunks = await client.stream("/inference/v1/generate", body | {"stream": True})
    ids = [token for chunk in chunks[:-1] for token in chunk["choices"][0]["token_ids"]]
    assert ids == whole["choices"][0]["token_ids"]
    assert len(ids) == 3
    assert whole["request_id"].startswith("generate-tokens-")


async def test_embeddings_are_vectors_of_their_input(client: Client) -> None:
    status, answer = await client.post("/v1/embeddings", {"input": ["a", "b", "a"], "dimensions": 3})
    vectors = [item["embedding"] for item in answer["data"]]
    assert (status, [len(vector) for vector in vectors]) == (200, [3, 3, 3])
    assert vectors[0] == vectors[2] != vectors[1]
    _, coded = await client.post("/v1/embeddings", {"input": "a", "encoding_format": "base64"})
    assert isinstance(coded["data"][0]["embedding"], str)


async def test_detokenize_undoes_tokenize(client: Client) -> None:
    _, ids = await client.post("/tokenize", {"prompt": "grüße", "return_token_strs": True})
    assert len(ids["token_strs"]) == ids["count"]
    _, text = await client.post("/detokenize", {"tokens": ids["tokens"]})
    assert text == {"prompt": "grüße"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "x", "stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt": "x", "max_tokens": 2, "min_tokens": 3}, "min_tokens"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "x", "max_tokens": 4096}, "input_tokens"),
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": ["x", 1]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({}, "body"),
        ({"prompt": [-1]}, "body.prompt[0]"),
    ],
)
async def test_what_makes_no_sense_is_refused(body: dict[str, Any], param: str, client: Client) -> None:
    status, answer = await client.post("/v1/completions", body)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, 400, param)


async def test_unknown_paths_are_not_found(client: Client) -> None:
    assert await client.post("/v1/nothing", {}) == (404, {"detail": "Not Found"})


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_a_body_or_refused(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(decode(raw, CompletionBody).prompt, str | list)


async def test_adapters_come_and_go() -> None:
    config = replace(SMALL, enable_lora=True, engine=replace(SMALL.engine, max_loras=2))
    async with simulated.replica(config) as client:
        adapter = {"lora_name": "lora-a", "lora_path": "/adapters/a"}
        texts = []
        for path in ("load", "load", "unload", "unload"):
            async with client.session.post(f"{client.url}/v1/{path}_lora_adapter", json=adapter) as response:
                texts.append(response.status)
                if path == "load":
                    _, models = await client.get("/v1/models")
                    assert '"parent":"tiny"' in models
        assert texts == [200, 400, 200, 404]
        status, _ = await client.post("/v1/completions", {"model": "lora-a", "prompt": "x"})
        assert status == 404


async def test_adapters_are_refused_where_none_are_served(client: Client) -> None:
    status, _ = await client.post("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "b"})
    assert status == 400
    assert "lora_requests_info" not in (await client.get("/metrics"))[1]


async def test_adapters_in_use_are_told_with_their_time() -> None:
    config = replace(SMALL, loras=("lora-a",), engine=replace(SMALL.engine, max_loras=2))
    async with simulated.replica(config) as client:
        await client.post("/v1/completions", {"model": "lora-a", "prompt": "x", "max_tokens": 5})
        samples = await client.samples()
        busy, idle = (
            f'vllm:lora_requests_info{{max_lora="2",running_lora_adapters="{names}",waiting_lora_adapters=""}}'
            for names in ("lora-a", "")
        )
        assert 0 < samples[busy] <= samples[idle]


async def test_metrics_follow_the_requests(client: Client) -> None:
    for _ in range(2):
        await client.post("/v1/completions", {"prompt": "a" * 512, "max_tokens": 5})
    samples = await client.samples()
    labels = 'engine="0",model_name="tiny"'
    expected = {
        f"vllm:prompt_tokens_total{{{labels}}}": 256,
        f"vllm:prompt_tokens_cached_total{{{labels}}}": 96,
        f"vllm:prefix_cache_queries_total{{{labels}}}": 256,
        f"vllm:prefix_cache_hits_total{{{labels}}}": 96,
        f"vllm:generation_tokens_total{{{labels}}}": 10,
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"}': 2,
        f"vllm:time_to_first_token_seconds_count{{{labels}}}": 2,
        f"vllm:inter_token_latency_seconds_count{{{labels}}}": 8,
        f"vllm:request_params_max_tokens_sum{{{labels}}}": 10,
        f"vllm:request_prefill_kv_computed_tokens_sum{{{labels}}}": 160,
        f"vllm:num_requests_running{{{labels}}}": 0,
        f"vllm:kv_cache_usage_perc{{{labels}}}": 0,
    }
    assert {name: samples[name] for name in expected} == expected


async def test_times_are_those_of_the_virtual_clock(client: Client) -> None:
    await client.post("/v1/completions", {"prompt": "a" * 512, "max_tokens": 11})
    # Ten decoding steps of 14 ms, 20 µs for the sequence, and 56 ns for each of 128 to 137 cached tokens.
    decode_s = 10 * 0.01402 + 56e-9 * sum(range(128, 138))
    assert await client.sample("vllm:request_decode_time_seconds_sum") == pytest.approx(decode_s)
    assert await client.sample("vllm:request_prefill_time_seconds_sum") == pytest.approx(0.014 + 128 * 50e-6)


async def test_a_client_that_goes_away_frees_the_engine() -> None:
    async with simulated.replica(replace(SMALL, speed=1.0)) as client:
        async with client.session.post(client.url + "/v1/completions", json=LONG) as response:
            await response.content.readline()
            assert (await client.get("/load"))[1] == '{"server_load":1}'
            await becomes(client, "vllm:num_requests_running", 1)
            assert (await client.post("/reset_prefix_cache", {}))[1] == {"success": False}
        await becomes(client, "vllm:num_requests_running", 0)
        samples = await client.samples()
        assert (
            samples['vllm:request_success_total{engine="0",finished_reason="abort",model_name="tiny"}'] == 1
        )
        assert (await client.get("/load"))[1] == '{"server_load":0}'
        assert (await client.post("/reset_prefix_cache", {}))[1] == {"success": True}


async def test_a_client_that_waits_for_the_whole_answer_may_go_away_too() -> None:
    async with simulated.replica(replace(SMALL, speed=1.0)) as client:
        asked = asyncio.create_task(client.post("/v1/completions", LONG | {"stream": False}))
        await becomes(client, "vllm:num_requests_running", 1)
        asked.cancel()
        await becomes(client, "vllm:num_requests_running", 0)


async def test_requests_beyond_the_batch_wait() -> None:
    config = replace(SMALL, speed=1.0, engine=replace(SMALL.engine, max_num_seqs=1))
    async with simulated.replica(config) as client, aiohttp.ClientSession() as session:
        asked = [
            asyncio.create_task(session.post(client.url + "/v1/completions", json=LONG)) for _ in range(3)
        ]
        await becomes(client, "vllm:num_requests_waiting", 2)
        for each in asked:
            (await each).close()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"max_model_len": 10_000}, "max_model_len is 10000"),
        ({"speed": 0}, "speed"),
        ({"mean_output_tokens": 0}, "mean_output_tokens"),
    ],
)
def test_a_senseless_replica_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ReplicaConfig(**{"engine": SMALL.engine, "max_model_len": 4096, **changes})
