"""The cases by which pickers of this protocol are known, over real gRPC.

Notation: P(queue, kv, adapters) a replica. All run with the scorers queue, KV cache, prefix and LoRA at
weight 1, as deployments in the field test themselves.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.gateway import HEADERS, Talk, common, gateway, set_headers
from tests.fakes.routing import Pool
from tests.fakes.serving import serving

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: lora-affinity-scorer
- type: PARSER
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer}
  - {pluginRef: kv-cache-utilization-scorer}
  - {pluginRef: prefix-cache-scorer}
  - {pluginRef: lora-affinity-scorer}
requestHandler:
  parsers:
  - {pluginRef: PARSER}
"""
TARGET = "sql-lora-1fdg2"
OBJECTIVE = {"x-llm-d-inference-objective": "my-model"}


@dataclass(frozen=True)
class P:
    queue: int = 0
    kv: float = 0.0
    adapters: tuple[str, ...] = ()


def pool_of(*replicas: P, parser: str = "openai-parser") -> Pool:
    return Pool(
        waiting=[replica.queue for replica in replicas],
        kv_usage=[replica.kv for replica in replicas],
        lora=[frozenset(replica.adapters) for replica in replicas],
        config=CONFIG.replace("PARSER", parser),
    )


def place(number: int) -> str:
    return f"10.0.0.{number + 1}:8000"


def completion(model: str) -> bytes:
    return json.dumps({"max_tokens": 100, "model": model, "prompt": "test", "temperature": 0}).encode()


@asynccontextmanager
async def talking(transport: str, pool: Pool) -> AsyncIterator[Talk]:
    async with serving(transport, pool) as address, gateway(address) as client, client.talk() as talk:
        yield talk
    assert (pool.in_flight, pool.open) == (0, 0)


ROUTING: dict[str, tuple[tuple[P, ...], str, int]] = {
    "lower queue and kv": ((P(3, 0.2), P(0, 0.1), P(10, 0.2)), "my-model-12345", 1),
    "active LoRA, low queue": (
        (P(0, 0.2, ("foo", "bar")), P(0, 0.1, ("foo", TARGET)), P(10, 0.2)),
        TARGET,
        1,
    ),
    "affinity beats kv": (
        (P(10, 0.2, ("foo", "bar")), P(10, 0.4, ("foo", TARGET)), P(10, 0.3, ("foo",))),
        TARGET,
        1,
    ),
    "no shedding by default": (
        (P(6, 0.2, ("foo", "bar", TARGET)), P(0, 0.85, ("foo",)), P(10, 0.9, ("foo",))),
        TARGET,
        0,
    ),
}


@pytest.mark.parametrize("case", ROUTING)
@pytest.mark.parametrize("parts", [1, 2])
async def test_routing(transport: str, case: str, parts: int) -> None:
    replicas, model, expected = ROUTING[case]
    pool = pool_of(*replicas)
    body = completion(model)
    async with talking(transport, pool) as talk:
        await talk.request_headers(HEADERS | OBJECTIVE)
        if parts == 2:
            await talk.request_body(body[:20], end=False)
        await talk.request_body(body[20:] if parts == 2 else body)
        assert await talk.routed() == place(expected)
        assert await talk.body("request") == body
    assert pool.sample("llm_d_epp_request_total", model_name=model, target_model_name=model) == 1
    assert pool.sample("llm_d_epp_ready_endpoints") == len(replicas)


async def test_the_target_model_of_the_header_is_forwarded_and_given_back(transport: str) -> None:
    pool = pool_of(P(4, 0.2, ("foo", "bar")), P(0, 0.85, ("foo",)))
    async with talking(transport, pool) as talk:
        await talk.request_headers(HEADERS | {"x-llm-d-model-name-rewrite": "my-model-12345"})
        await talk.request_body(completion("direct-model"))
        await talk.routed()
        assert json.loads(await talk.body("request"))["model"] == "my-model-12345"
        await talk.response_headers()
        await talk.reply()
        await talk.response_body(b'{"model":"my-model-12345"}', end=True)
        assert await talk.body("response") == b'{"model":"direct-model"}'
    labels = {"model_name": "direct-model", "target_model_name": "my-model-12345"}
    assert pool.sample("llm_d_epp_request_total", **labels) == 1


async def test_the_passthrough_parser_reads_nothing(transport: str) -> None:
    pool = pool_of(P(3, 0.2), P(0, 0.1), P(10, 0.2), parser="passthrough-parser")
    async with talking(transport, pool) as talk:
        assert await talk.route(b"passthrough-parser") == place(1)
    assert pool.sample("llm_d_epp_request_total", model_name="", target_model_name="") == 1


async def test_invalid_json(transport: str) -> None:
    async with talking(transport, pool_of(P())) as talk:
        await talk.request_headers()
        await talk.request_body(b"no healthy upstream")
        status, body, _ = await talk.refusal()
    reason = "invalid character 'o' in literal null (expecting 'u')"
    assert (status, body) == (
        400,
        f"inference error: BadRequest - error unmarshaling request bodyMap: {reason}",
    )


async def test_no_endpoints_and_no_body(transport: str) -> None:
    async with talking(transport, pool_of()) as talk:
        await talk.request_headers(end=True)
        status, body, headers = await talk.refusal()
    assert (status, headers) == (503, {"x-llm-d-request-dropped-reason": "rejected-no-endpoints"})
    assert body.startswith("inference error: ServiceUnavailable - ")


async def test_a_missing_model(transport: str) -> None:
    async with talking(transport, pool_of()) as talk:
        await talk.request_headers()
        await talk.request_body(b'{"prompt": "hello"}')
        assert await talk.refusal() == (
            400,
            "inference error: BadRequest - model not found in request body",
            {},
        )


async def test_no_parser_for_the_path(transport: str) -> None:
    async with talking(transport, pool_of(P())) as talk:
        await talk.request_headers(HEADERS | {":path": "/tokenize?x=1"})
        await talk.request_body(b"{}")
        status, body, _ = await talk.refusal()
    assert status == 400
    assert body.startswith(
        "inference error: BadRequest - no parser registered matching path suffix for: /tokenize"
    )


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ([place(0), place(1), place(2)], 1),
        ([place(2)], 2),
        ([place(2), 7, "nonsense"], 2),
        (f"{place(0)},{place(2)}", 0),
    ],
)
async def test_the_best_of_the_subset(transport: str, subset: Any, expected: int) -> None:
    hints = {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": subset}}
    async with talking(transport, pool_of(P(3, 0.2), P(0, 0.1), P(10, 0.2))) as talk:
        await talk.request_headers()
        await talk.request_body(completion("m"), hints=hints)
        assert await talk.routed() == place(expected)


async def test_the_subset_can_be_ignored(transport: str) -> None:
    pool = pool_of(P(3, 0.2), P(0, 0.1))
    pool.rebuild(honour_subset=False)
    hints = {"envoy.lb.subset_hint": {"x-gateway-destination-endpoint-subset": [place(0)]}}
    async with talking(transport, pool) as talk:
        await talk.request_headers(hints=hints)
        await talk.request_body(completion("m"))
        assert await talk.routed() == place(1)


async def test_a_get_is_routed(transport: str) -> None:
    async with talking(transport, pool_of(P())) as talk:
        await talk.request_headers({":method": "GET", ":path": "/"}, end=True)
        assert await talk.routed() == place(0)


@pytest.mark.parametrize(
    "parts",
    [
        (b'{"usage":{"prompt_tokens":7,', b'"completion_tokens":10,"total_tokens":17}}'),
        (b"no healthy", b" upstream"),
        (b'{"max_tokens":100}', b""),
    ],
)
async def test_a_response_without_its_request(transport: str, parts: tuple[bytes, bytes]) -> None:
    async with talking(transport, pool_of(P())) as talk:
        await talk.response_headers()
        assert set_headers(common(await talk.reply()).header_mutation) == {"x-went-into-resp-headers": "true"}
        await talk.response_body(parts[0])
        await talk.response_body(parts[1], end=True)
        streamed = (await talk.reply()).response_body.response.body_mutation.streamed_response
        assert (streamed.body, streamed.end_of_stream) == (b"".join(parts), True)


async def test_usage_of_server_sent_events(transport: str) -> None:
    pool = pool_of(P())
    usage = (
        b'data: {"usage":{"prompt_tokens":7,"total_tokens":17,"completion_tokens":10}}\n\ndata: [DONE]\n\n'
    )
    async with talking(transport, pool) as talk:
        await talk.response_headers({":status": "200", "content-type": "text/event-stream"})
        await talk.reply()
        for part, end in ((b"data: {}\n\n", False), (usage, False), (b"", True)):
            await talk.response_body(part, end=end)
            streamed = (await talk.reply()).response_body.response.body_mutation.streamed_response
            assert (streamed.body, streamed.end_of_stream) == (part, end)
    assert pool.sample("llm_d_epp_request_input_tokens_sum", model_name="", target_model_name="") == 7


@pytest.mark.parametrize("shown", [True, False])
async def test_scores_are_shown_where_asked_for(transport: str, shown: bool) -> None:
    pool = pool_of(P(3, 0.2), P(0, 0.1), P(10, 0.2))
    pool.rebuild(emit_scores=shown)
    async with talking(transport, pool) as talk:
        await talk.request_headers()
        await talk.request_body(completion("m"))
        fields = (await talk.reply()).dynamic_metadata.fields["envoy.lb"].struct_value.fields
    scores = fields["x-gateway-destination-endpoint-scores"].struct_value.fields if shown else {}
    assert ("x-gateway-destination-endpoint-scores" in fields) is shown
    assert set(scores) == ({place(number) for number in range(3)} if shown else set())
    assert all(score.number_value >= 0 for score in scores.values())
