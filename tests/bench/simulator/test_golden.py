"""The simulator beside recordings of the real vLLM 0.32: the same fields and JSON types, at every depth.

Left out on purpose: `render_completion` and `render_chat` (routes that the simulator does not have), the
headers apart from the type of streams, and of the metrics what does not concern requests or caches: the
`python_`, `process_` and `http_` families and `vllm:estimated_*` (floating point operations and bytes).
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import simulated
from tests.fakes.simulated import CONNECTED, Client

GOLDEN = Path(__file__).parents[3].parent / "shared" / "golden" / "vllm-0.32.0"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recordings of vLLM are not here")

# 1,024 bytes are 256 tokens, as many as the recorded prompt has.
PROMPT = "abcd" * 256
USAGE = {"include_usage": True}
CHAT = {"messages": [{"role": "user", "content": "abcd" * 200}], "max_tokens": 5}

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "completion": ("/v1/completions", {"prompt": PROMPT, "max_tokens": 8}),
    "chat": ("/v1/chat/completions", CHAT),
    "tokens_prompt": ("/v1/completions", {"prompt": list(range(300, 370)), "max_tokens": 2}),
    "tokenize_completion": ("/tokenize", {"prompt": "one two"}),
    "tokenize_chat": ("/tokenize", {"messages": CHAT["messages"]}),
    "err_model": ("/v1/completions", {"model": "nope", "prompt": "x"}),
    "err_len": ("/v1/completions", {"prompt": [300] * 4097, "max_tokens": 1}),
    "err_json": ("/v1/completions", {"prompt": {"a": 1}}),
    "kv_params": ("/v1/completions", {"prompt": PROMPT, "max_tokens": 1, "kv_transfer_params": {"a": 1}}),
    "reset_prefix_cache": ("/reset_prefix_cache", {}),
}
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "completion_stream": ("/v1/completions", {"prompt": PROMPT, "max_tokens": 5}),
    "completion_stream_usage": (
        "/v1/completions",
        {"prompt": PROMPT, "max_tokens": 5, "stream_options": USAGE},
    ),
    "completion_stream_usage_continuous": (
        "/v1/completions",
        {"prompt": PROMPT, "max_tokens": 3, "stream_options": USAGE | {"continuous_usage_stats": True}},
    ),
    "chat_stream_usage": ("/v1/chat/completions", CHAT | {"max_tokens": 4, "stream_options": USAGE}),
}
PAGES = {name: f"/{name}" for name in ("health", "ping", "version", "load")} | {"models": "/v1/models"}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / "http.json").read_text())
    return loaded


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with simulated.replica() as running:
        yield running


def shape(value: Any) -> Any:
    """What a JSON value looks like without its contents: fields in order and types."""
    if isinstance(value, dict):
        return [(key, shape(each)) for key, each in value.items()]
    if isinstance(value, list):
        # The kinds of items, each once: token lists differ in length and in nothing else.
        return ["list", *sorted({repr(shape(each)) for each in value})]
    return type(value).__name__


def test_every_recording_is_compared_or_left_out_on_purpose(recorded: dict[str, Any]) -> None:
    compared = {*BODIES, *STREAMS, *PAGES, "completion_repeat", "metrics"}
    assert set(recorded) == compared | {"render_completion", "render_chat"}


@pytest.mark.parametrize("name", BODIES)
async def test_an_answer_has_the_recorded_shape(name: str, recorded: dict[str, Any], client: Client) -> None:
    path, body = BODIES[name]
    status, _, text = recorded[name]
    got = await client.post(path, {"model": "tiny", **body})
    assert (got[0], shape(got[1])) == (status, shape(json.loads(text)))


async def test_a_repeated_prompt_tells_its_cached_tokens(recorded: dict[str, Any], client: Client) -> None:
    await client.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 8})
    _, got = await client.post("/v1/completions", {"prompt": PROMPT + "12345678", "max_tokens": 8})
    want = json.loads(recorded["completion_repeat"][2])
    assert shape(got) == shape(want)
    # 258 tokens after 256 in blocks of 32: here even the numbers are the recorded ones.
    assert got["usage"] == want["usage"]


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_has_the_recorded_chunks(name: str, recorded: dict[str, Any], client: Client) -> None:
    path, body = STREAMS[name]
    await client.post(path, {**body, "stream_options": None, "max_tokens": 1})
    got = await client.stream(path, {"stream": True, **body})
    want = simulated.events(recorded[name][2])
    assert [shape(chunk) for chunk in got] == [shape(chunk) for chunk in want]
    assert [chunk.get("usage", {}).get("completion_tokens") for chunk in got[:-1]] == [
        chunk.get("usage", {}).get("completion_tokens") for chunk in want[:-1]
    ]


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_has_the_recorded_shape(name: str, recorded: dict[str, Any], client: Client) -> None:
    status, _, text = recorded[name]
    got_status, got = await client.get(PAGES[name])
    assert got_status == status
    assert (shape(json.loads(got)) if got else got) == (shape(json.loads(text)) if text else text)


def families(page: str) -> dict[str, tuple[str, set[frozenset[str]]]]:
    """Family → type and the sets of label names of its series."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    found: dict[str, tuple[str, set[frozenset[str]]]] = {name: (kind, set()) for name, kind in kinds.items()}
    for name, labels in re.findall(r"^([\w:]+)\{(.*)\} \S+$", page, re.MULTILINE):
        family = name if name in found else re.sub("_(bucket|count|sum)$", "", name)
        found[family][1].add(frozenset(re.findall(r'(\w+)="', labels)))
    return found


async def test_every_family_of_requests_and_caches_has_type_and_labels(client: Client) -> None:
    want = families((GOLDEN / "metrics.txt").read_text())
    got = families((await client.get("/metrics"))[1])
    concerned = {name for name in want if name.startswith("vllm:") and "estimated" not in name}
    assert len(concerned) > 60
    assert {name: got.get(name) for name in concerned} == {name: want[name] for name in concerned}


async def test_series_have_the_recorded_labels_and_buckets(client: Client) -> None:
    def series(page: str) -> set[str]:
        lines = [line.rpartition(" ")[0] for line in page.splitlines() if line.startswith("vllm:")]
        return {line for line in lines if "estimated" not in line and "cache_config_info" not in line}

    want = series((GOLDEN / "metrics.txt").read_text())
    assert series((await client.get("/metrics"))[1]) == want


# === prefill here, decode there ===


@pytest.fixture(scope="module")
def exchanges() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((GOLDEN / "nixl.json").read_text())
    return loaded


@pytest.mark.parametrize("number", range(4))
async def test_an_exchange_goes_as_recorded(number: int, exchanges: list[dict[str, Any]]) -> None:
    assert len(exchanges) == 4
    want = exchanges[number]
    path, headers = want["path"], {"X-Request-Id": "r-1"}
    async with simulated.replicas(CONNECTED, CONNECTED) as (prefill, decode):
        status, got = await prefill.post(path, want["prefill_request"], **headers)
        assert (status, shape(got)) == (200, shape(want["prefill_response"]))
        assert got["choices"][0]["finish_reason"] == "length"
        params, recorded = got["kv_transfer_params"], want["prefill_response"]["kv_transfer_params"]
        check_handover(params, recorded, got["usage"]["prompt_tokens"])
        second = want["decode_request"] | {"kv_transfer_params": params}
        if second["stream"]:
            chunks = await decode.stream(path, second)
            events = simulated.events(want["decode_response"])
            assert [shape(each) for each in chunks] == [shape(each) for each in events]
            details, expected = (each[-2]["usage"]["prompt_tokens_details"] for each in (chunks, events))
        else:
            status, answer = await decode.post(path, second, **headers)
            whole = json.loads(want["decode_response"])
            assert (status, shape(answer)) == (want["decode_status"], shape(whole))
            assert answer["id"] == whole["id"]
            details, expected = (each["usage"]["prompt_tokens_details"] for each in (answer, whole))
        assert details == expected


def check_handover(got: dict[str, Any], want: dict[str, Any], tokens: int) -> None:
    """What a machine does not decide is as recorded; the rest fits together."""
    own = {"remote_block_ids", "remote_engine_id", "remote_request_id", "remote_port", "remote_num_tokens"}
    assert {key: value for key, value in got.items() if key not in own} == {
        key: value for key, value in want.items() if key not in own
    }
    assert got["remote_num_tokens"] == tokens
    assert [len(group) for group in got["remote_block_ids"]] == [-(-tokens // 32)]
    # The name ends in eight random digits, before which a completion has the number of its prompt.
    hidden = [re.sub(r"[0-9a-f]{8}$", "*", each["remote_request_id"]) for each in (got, want)]
    assert hidden[0] == hidden[1]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", got["remote_engine_id"])


async def test_a_connector_adds_its_families_to_the_page() -> None:
    async with simulated.replica(CONNECTED) as client:
        got = families((await client.get("/metrics"))[1])
    want = families((GOLDEN / "metrics.txt").read_text())
    own = {name: kind for name, (kind, _) in got.items() if name not in want and "_created" not in name}
    assert own == {
        "vllm:nixl_num_failed_transfers_total": "counter",
        "vllm:nixl_num_failed_notifications_total": "counter",
        "vllm:nixl_num_kv_expired_reqs_total": "counter",
        "vllm:nixl_num_notifications_after_expiry_total": "counter",
        "vllm:nixl_xfer_time_seconds": "histogram",
        "vllm:nixl_post_time_seconds": "histogram",
        "vllm:nixl_bytes_transferred": "histogram",
        "vllm:nixl_num_descriptors": "histogram",
    }
