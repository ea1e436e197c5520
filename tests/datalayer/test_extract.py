import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.config import strict
from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer.engines import BUILT_IN, EngineConfig
from endpoint_picker.datalayer.extract import CoreMetricsExtractor, ExtractorParameters, Reader
from endpoint_picker.datalayer.series import ExtractError
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "vllm-0.32.0" / "metrics.txt"

READERS = {engine.name: Reader(engine) for engine in BUILT_IN}


def vllm(*lines: str) -> Gauges:
    return READERS["vllm"].read("\n".join(lines).encode())


def known(gauges: Gauges) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(gauges).items() if value is not None}


def extractor(**parameters: Any) -> CoreMetricsExtractor:
    decoded = strict.decode(parameters, ExtractorParameters, where="c.yaml")
    return CoreMetricsExtractor("core", decoded, Wiring(EndpointTable(), Metrics()))


# === the five engines ===


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recorded page is not here")
def test_a_recorded_page_of_vllm() -> None:
    assert known(READERS["vllm"].read(GOLDEN.read_bytes())) == {
        "waiting": 0.0,
        "running": 0.0,
        "kv_usage": 0.0,
        "block_size": 32,
        "num_blocks": 256,
    }


def test_a_page_of_sglang() -> None:
    page = (
        b'sglang:num_queue_reqs{model_name="m"} 3\nsglang:num_running_reqs{model_name="m"} 5\n'
        b'sglang:token_usage{model_name="m"} 0.25\n'
        b'sglang:cache_config_info{page_size="1",num_pages="9000"} 1\n'
    )
    assert known(READERS["sglang"].read(page)) == {
        "waiting": 3.0,
        "running": 5.0,
        "kv_usage": 0.25,
        "block_size": 1,
        "num_blocks": 9000,
    }


def test_a_page_of_trtllm_serve() -> None:
    page = (
        b"trtllm_num_requests_waiting 1\ntrtllm_num_requests_running 2\ntrtllm_kv_cache_utilization 0.5\n"
        b"trtllm_kv_cache_tokens_per_block 32.0\ntrtllm_kv_cache_max_blocks 4096.0\n"
    )
    assert known(READERS["trtllm-serve"].read(page)) == {
        "waiting": 1.0,
        "running": 2.0,
        "kv_usage": 0.5,
        "block_size": 32,
        "num_blocks": 4096,
    }


def test_a_page_of_triton_with_tensorrt_llm() -> None:
    kv = "nv_trt_llm_kv_cache_block_metrics"
    page = (
        'nv_trt_llm_request_metrics{model="m",request_type="scheduled",version="1"} 4\n'
        'nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 6\n'
        'nv_trt_llm_request_metrics{model="m",request_type="active",version="1"} 10\n'
        f'{kv}{{kv_cache_block_type="fraction",model="m"}} 0.75\n'
        f'{kv}{{kv_cache_block_type="tokens_per",model="m"}} 64\n'
        f'{kv}{{kv_cache_block_type="max",model="m"}} 100\n'
        f'{kv}{{kv_cache_block_type="used",model="m"}} 75\n'
    ).encode()
    assert known(READERS["triton-tensorrt-llm"].read(page)) == {
        "waiting": 6.0,
        "running": 4.0,
        "kv_usage": 0.75,
        "block_size": 64,
        "num_blocks": 100,
    }


def test_a_page_of_triton() -> None:
    page = b'nv_inference_pending_request_count{model="m"} 2\nnv_inference_exec_count{model="m"} 7\n'
    assert known(READERS["triton"].read(page)) == {"waiting": 2.0, "running": 7.0}


# === which series ===


def test_a_family_that_the_page_lacks_is_none() -> None:
    assert known(vllm("vllm:num_requests_waiting 3")) == {"waiting": 3.0}


@pytest.mark.parametrize(
    "page", [b"", b"up 1\n", b"vllm:num_requests_waiting x\n", b"<html>not found</html>"]
)
def test_a_page_with_nothing_needed_is_an_error(page: bytes) -> None:
    with pytest.raises(ExtractError, match="vllm"):
        READERS["vllm"].read(page)


def test_an_engine_without_specs_reads_nothing_and_complains_of_nothing() -> None:
    assert known(Reader(EngineConfig(name="mute")).read(b"up 1\n")) == {}


def test_the_newest_timestamp_wins() -> None:
    gauges = vllm(
        'vllm:num_requests_waiting{model_name="a"} 1 100',
        'vllm:num_requests_waiting{model_name="b"} 2 300',
        'vllm:num_requests_waiting{model_name="c"} 3 200',
        'vllm:num_requests_waiting{model_name="d"} 4',
    )
    assert gauges.waiting == 2.0


def test_the_first_wins_where_none_carries_a_timestamp() -> None:
    gauges = vllm(
        'vllm:num_requests_waiting{model_name="a"} 1', 'vllm:num_requests_waiting{model_name="b"} 2'
    )
    assert gauges.waiting == 1.0


def ranks(family: str, *values: object) -> list[str]:
    return [f'{family}{{engine="{rank}",model_name="m"}} {value}' for rank, value in enumerate(values)]


def test_queues_of_data_parallel_ranks_are_summed_and_cache_use_is_averaged() -> None:
    gauges = vllm(
        *ranks("vllm:num_requests_waiting", 1, 2, 3),
        *ranks("vllm:num_requests_running", 10, 0, 30),
        *ranks("vllm:kv_cache_usage_perc", 0.0, 0.3, 0.9),
    )
    assert (gauges.waiting, gauges.running) == (6.0, 40.0)
    assert gauges.kv_usage == pytest.approx(0.4)


def test_one_rank_that_lies_makes_the_sum_unknown() -> None:
    for lie in ("NaN", "-1", "+Inf"):
        assert math.isnan(vllm(*ranks("vllm:num_requests_waiting", 1, lie)).waiting or 0.0)


def test_series_that_differ_in_more_than_the_rank_are_not_summed() -> None:
    gauges = vllm(
        'vllm:num_requests_waiting{engine="0",model_name="a"} 1',
        'vllm:num_requests_waiting{engine="1",model_name="b"} 2',
    )
    assert gauges.waiting == 1.0
    assert vllm("vllm:num_requests_waiting 4", 'vllm:num_requests_waiting{engine="0"} 5').waiting == 4.0
    assert vllm(*["vllm:num_requests_waiting 3"] * 2).waiting == 3.0
    assert vllm(*['vllm:num_requests_waiting{engine="0"} 3'] * 2).waiting == 3.0


def test_other_engines_are_not_summed() -> None:
    own = Reader(EngineConfig(name="other", queued_requests_spec="vllm:num_requests_waiting"))
    assert own.read("\n".join(ranks("vllm:num_requests_waiting", 1, 2)).encode()).waiting == 1.0


# === which values ===


@pytest.mark.parametrize("value", ["NaN", "-1", "+Inf", "-Inf", "1e300"])
def test_a_count_that_cannot_be_true_is_not_known(value: str) -> None:
    gauges = vllm(f"vllm:num_requests_waiting {value}", f"vllm:num_requests_running {value}")
    assert math.isnan(gauges.waiting or 0.0)
    assert math.isnan(gauges.running or 0.0)


@pytest.mark.parametrize(
    ("value", "share"), [("0", 0.0), ("0.5", 0.5), ("1", 1.0), ("1.5", 1.0), ("1e300", 1.0)]
)
def test_cache_use_is_a_share(value: str, share: float) -> None:
    assert vllm(f"vllm:kv_cache_usage_perc {value}").kv_usage == share


@pytest.mark.parametrize("value", ["NaN", "-0.1", "+Inf", "-Inf"])
def test_cache_use_that_cannot_be_true_is_not_known(value: str) -> None:
    assert math.isnan(vllm(f"vllm:kv_cache_usage_perc {value}").kv_usage or 0.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [("16", 16), ("None", 0), ("", 0), ("-1", 0), ("1.5", 0), ("9" * 30, 0), ("٣", 0), ("0", 0)],
)
def test_the_cache_is_described_by_labels(text: str, size: int) -> None:
    gauges = vllm(f'vllm:cache_config_info{{block_size="{text}",engine="0",num_gpu_blocks="{text}"}} 1.0')
    assert (gauges.block_size, gauges.num_blocks) == (size, size)


def test_labels_that_are_missing_tell_nothing() -> None:
    gauges = vllm('vllm:cache_config_info{cache_dtype="auto"} 1', "vllm:num_requests_waiting 0")
    assert (gauges.block_size, gauges.num_blocks) == (None, None)


def test_own_gauges_fill_in_what_the_labels_do_not_tell() -> None:
    engine = EngineConfig(
        name="x", cache_info_spec="info", cache_block_size_spec="size", cache_num_blocks_spec="n"
    )
    gauges = Reader(engine).read(b'info{block_size="None",num_gpu_blocks="7"} 1\nsize 32\nn 99\n')
    assert (gauges.block_size, gauges.num_blocks) == (32, 7)


@pytest.mark.parametrize(
    ("value", "size"), [("16.0", 16), ("NaN", 0), ("-3", 0), ("+Inf", 0), ("0.5", 0), ("1e18", 0)]
)
def test_the_cache_is_described_by_gauges(value: str, size: int) -> None:
    engine = EngineConfig(name="x", cache_block_size_spec="size")
    assert Reader(engine).read(f"size {value}\n".encode()).block_size == size


def test_the_latest_state_of_the_adapters_wins() -> None:
    gauges = vllm(
        'vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters="x"} 1.7e9',
        'vllm:lora_requests_info{max_lora="8",running_lora_adapters="a, b,",waiting_lora_adapters=""} 1.8e9',
        'vllm:lora_requests_info{max_lora="2",running_lora_adapters="nan",waiting_lora_adapters=""} NaN',
    )
    assert gauges.max_lora == 8
    assert gauges.lora_running == frozenset({"a", "b"})
    assert gauges.lora_waiting == frozenset()


def test_a_page_without_adapters_says_nothing_of_them() -> None:
    gauges = vllm("vllm:num_requests_waiting 0")
    assert (gauges.lora_running, gauges.lora_waiting, gauges.max_lora) == (None, None, None)


# === the plugin ===


def waiting(plugin: CoreMetricsExtractor, page: bytes, labels: dict[str, str]) -> float:
    """What an endpoint with these labels has queued, as the page tells."""
    table = plugin.wiring.table
    table.replace([Endpoint("a", "10.0.0.1", 8000, labels=labels)])
    plugin.extract(page, 0)
    return float(table.waiting[0])


def test_the_engine_is_chosen_by_label() -> None:
    plugin = extractor(defaultEngine="triton")
    page = b"vllm:num_requests_waiting 1\nsglang:num_queue_reqs 2\nnv_inference_pending_request_count 3\n"
    legacy = "inference.networking.k8s.io/engine-type"
    assert waiting(plugin, page, {"llm-d.ai/engine-type": "vllm"}) == 1.0
    assert waiting(plugin, page, {legacy: "sglang"}) == 2.0
    assert waiting(plugin, page, {"llm-d.ai/engine-type": "vllm", legacy: "sglang"}) == 1.0
    assert waiting(plugin, page, {"llm-d.ai/engine-type": "unheard-of"}) == 3.0
    assert waiting(plugin, page, {}) == 3.0


def test_an_engine_and_a_label_of_ones_own() -> None:
    plugin = extractor(
        engineLabelKey="kind", engineConfigs=[{"name": "acme", "queuedRequestsSpec": "acme:q{kind=wait}"}]
    )
    page = b'acme:q{kind="run"} 1\nacme:q{kind="wait"} 2\n'
    assert waiting(plugin, page, {"kind": "acme"}) == 2.0


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"defaultEngin": "vllm"}, '"defaultEngine"'),
        ({"defaultEngine": "sglan"}, '"sglang"'),
        ({"engineConfigs": [{"name": "a", "queuedSpec": "q"}]}, "queuedRequestsSpec"),
        ({"engineConfigs": [{"name": "default"}]}, "reserved"),
        ({"engineConfigs": [{"name": "a", "loraSpec": "q{"}]}, "loraSpec"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        extractor(**parameters)


# === metrics of ones own ===


def with_custom(*specs: tuple[str, str], **engine: str) -> CoreMetricsExtractor:
    """An extractor `core` of endpoints in one row, which publishes these (attribute, spec)."""
    custom = [{"attributeKey": key, "metricSpec": spec} for key, spec in specs]
    plugin = extractor(engineConfigs=[{"name": "vllm", "customMetrics": custom, **engine}])
    plugin.wiring.table.replace([Endpoint("a", "10.0.0.1", 8000)])
    return plugin


def scalar(plugin: CoreMetricsExtractor, attribute: str) -> float | None:
    values = plugin.wiring.table.scalar(attribute, "core")
    return None if values is None else float(values[0])


def test_custom_metrics_become_attributes_of_the_extractors_name() -> None:
    plugin = with_custom(("warm", 'acme:warm{kind="x"}'), ("cold", "acme:cold"), queuedRequestsSpec="q")
    plugin.extract(b'acme:warm{kind="y"} 1\nacme:warm{kind="x"} 2.5\nacme:cold -3\nq 4\n', 0)
    assert (scalar(plugin, "warm"), scalar(plugin, "cold")) == (2.5, -3.0)
    assert plugin.wiring.table.waiting[0] == 4.0


def test_of_several_series_the_newest_counts_and_none_are_summed() -> None:
    plugin = with_custom(("k", "m"))
    plugin.extract(b'm{engine="0"} 1 100\nm{engine="1"} 2 300\nm{engine="2"} 3 200\n', 0)
    assert scalar(plugin, "k") == 2.0


def test_a_custom_metric_that_the_page_lacks_keeps_its_value() -> None:
    plugin = with_custom(("a", "ma"), ("b", "mb"))
    plugin.extract(b"ma 1\nmb 2\n", 0)
    plugin.extract(b"ma 3\n", 0)
    assert (scalar(plugin, "a"), scalar(plugin, "b")) == (3.0, 2.0)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_a_custom_metric_without_a_finite_value_is_not_known(value: str) -> None:
    plugin = with_custom(("k", "m"))
    plugin.extract(b"m 1\n", 0)
    plugin.extract(f"m {value}\n".encode(), 0)
    assert math.isnan(scalar(plugin, "k") or 0.0)


def test_a_page_with_custom_metrics_alone_is_none_of_the_engine() -> None:
    plugin = with_custom(("k", "m"), queuedRequestsSpec="q")
    plugin.extract(b"m 1\n", 0)
    assert scalar(plugin, "k") == 1.0
    assert plugin.wiring.table.readings[0] == 0
    with pytest.raises(ExtractError, match="vllm"):
        plugin.extract(b"up 1\n", 0)


def test_custom_metrics_are_forgotten_when_the_page_is_gone() -> None:
    plugin = with_custom(("k", "m"))
    plugin.extract(b"m 1\n", 0)
    plugin.forget(0)
    assert math.isnan(scalar(plugin, "k") or 0.0)


@pytest.mark.parametrize(
    ("custom", "text"),
    [
        ([{"attributeKey": "", "metricSpec": "m"}], r"customMetrics\[0\]\.attributeKey: is empty; name"),
        ([{"attributeKey": "k", "metricSpec": " "}], r"customMetrics\[0\]\.metricSpec: is empty; write"),
        (
            [{"attributeKey": "k", "metricSpec": "m"}] * 2,
            r'customMetrics\[1\]\.attributeKey: "k" is there twice',
        ),
        ([{"attributeKey": "k"}], "metricSpec"),
        ([{"attributeKey": "k", "metricSpec": "m", "unit": "s"}], "unit"),
    ],
)
def test_wrong_custom_metrics_are_refused(custom: list[dict[str, str]], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        extractor(engineConfigs=[{"name": "a", "customMetrics": custom}])


# === whatever comes ===

LINES = st.builds(
    "{}{} {}{}".format,
    st.sampled_from(
        [
            "vllm:num_requests_waiting",
            "vllm:num_requests_running",
            "vllm:kv_cache_usage_perc",
            "vllm:lora_requests_info",
            "vllm:cache_config_info",
            "# TYPE vllm:cache_config_info",
        ]
    ),
    st.sampled_from(["", "{}", '{engine="0"}', '{engine="1"}', "{"])
    | st.builds(
        '{{block_size="{0}",num_gpu_blocks="{0}",max_lora="{0}",running_lora_adapters="{0}"}}'.format,
        st.text(max_size=6) | st.integers().map(str),
    ),
    st.floats().map(str) | st.integers().map(str) | st.text(max_size=6),
    st.sampled_from(["", " 1", " 1700000000000", " x", "\r"]),
)
PAGES = st.lists(LINES, max_size=12).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
) | st.binary(max_size=200)


@settings(max_examples=200, deadline=None)
@given(page=PAGES, engine=st.sampled_from(sorted(READERS)))
def test_any_page_gives_gauges_that_the_table_can_hold(page: bytes, engine: str) -> None:
    try:
        gauges = READERS[engine].read(page)
    except ExtractError:
        return
    table = EndpointTable()
    table.replace([Endpoint("a", "10.0.0.1", 80)])
    table.observe(0, gauges, 1.0)
    for value in (table.waiting[0], table.running[0]):
        assert np.isnan(value) or 0.0 <= value <= 1e12
    assert np.isnan(table.kv_usage[0]) or 0.0 <= table.kv_usage[0] <= 1.0
    for size in (table.block_size[0], table.num_blocks[0], table.max_lora[0]):
        assert 0 <= size <= 1e12
