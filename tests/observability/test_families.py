"""The series have the names, labels and buckets of the field, and the page for operators lists them all."""

import re
from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest
from prometheus_client import Metric

from endpoint_picker.observability.metrics import Metrics
from tests.fakes.metrics_page import page, serve

R = ("model_name", "target_model_name", "fairness_id", "priority")
M = ("model_name", "target_model_name")
P = ("plugin_name", "plugin_type")
# fmt: off
L = [.005, .025, .05, .1, .2, .4, .6, .8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120,
     180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600]
S = [.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1]
OUT = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
RESPONSE = [*OUT, 16384, 32778, 65536]
IN = [*RESPONSE, 131072, 262144, 524288, 1048576]
NTPOT = [.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10]
TPOT = [.0005, .00205, .005, .01, .02, .04, .06, .08, .1, .125, .15, .2, .3, .4, .5, .6, .8, 1, 2]
ITL = [.001, .005, .01, .02, .04, .06, .08, .1, .15, .2, .3, .5, .75, 1, 2]
REQUEST_WORK = [.0005, .001, .002, .005, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10]
RESPONSE_WORK = [.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5]
RATIO = [0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1]
BYTES = [0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
REQUEST_BYTES = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288,
                 1048576, 2097152, 4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456,
                 536870912, 1073741824]
LOAD = ("endpoint_name", "namespace", "producer_name", "fairness_id", "priority")
COUNTER, GAUGE = "counter", "gauge"
Shape = tuple[str | Sequence[float], tuple[str, ...]]
PAGE: dict[str, Shape] = {
    "llm_d_epp_request_total": (COUNTER, R),
    "llm_d_epp_request_error_total": (COUNTER, (*R, "error_code")),
    "llm_d_epp_request_duration_seconds": (L, R),
    "llm_d_epp_request_size_bytes": (REQUEST_BYTES, R),
    "llm_d_epp_response_size_bytes": (RESPONSE, R),
    "llm_d_epp_request_input_tokens": (IN, R),
    "llm_d_epp_request_cached_tokens": (IN, R),
    "llm_d_epp_request_output_tokens": (OUT, R),
    "llm_d_epp_request_running": (GAUGE, R),
    "llm_d_epp_request_ntpot_seconds": (NTPOT, R),
    "llm_d_epp_request_ttft_seconds": (L[:24], (*R, "streaming")),
    "llm_d_epp_request_streaming_tpot_seconds": (TPOT, R),
    "llm_d_epp_request_streaming_itl_seconds": (ITL, R),
    "llm_d_epp_scheduler_e2e_duration_seconds": (S, ()),
    "llm_d_epp_scheduler_attempts_total": (
        COUNTER, ("status", "target_model_name", "endpoint_name", "namespace", "port")),
    "llm_d_epp_plugin_duration_seconds": (S, ("extension_point", "plugin_type", "plugin_name")),
    "llm_d_epp_prefix_predicted_tokens_total": (COUNTER, ("plugin_name", "plugin_type")),
    "llm_d_epp_prefix_cached_tokens_total": (COUNTER, ("plugin_name", "plugin_type")),
    "llm_d_epp_config_reloads_total": (COUNTER, ("result",)),
    "llm_d_epp_disaggregatedset_strict_header_no_match_total": (COUNTER, (*P, "selector")),
    "llm_d_epp_disaggregatedset_revision_gating_share": (GAUGE, (*P, "mode", "revision")),
    "llm_d_epp_disagg_decision_total": (COUNTER, (*P, "model_name", "decision_type")),
    "llm_d_epp_pd_decision_total": (COUNTER, (*P, "model_name", "decision_type")),
    "llm_d_epp_disagg_stages_skipped_total": (COUNTER, (*P, "stage", "reason")),
    "llm_d_epp_inline_prefill_seconds": (L[:24], ("outcome",)),
    "llm_d_epp_plugin_failures_total": (COUNTER, ("extension_point", "plugin_type", "plugin_name")),
    "llm_d_epp_request_processing_duration_seconds": (REQUEST_WORK, ()),
    "llm_d_epp_response_processing_duration_seconds": (RESPONSE_WORK, ()),
    "llm_d_epp_info": (GAUGE, ("commit", "build_ref")),
    "llm_d_epp_datalayer_poll_errors_total": (COUNTER, ("source_type",)),
    "llm_d_epp_datalayer_extract_errors_total": (COUNTER, ("source_type", "extractor_type")),
    "llm_d_epp_prefix_indexer_size": (GAUGE, P),
    "llm_d_epp_prefix_indexer_hit_ratio": (RATIO, P),
    "llm_d_epp_prefix_indexer_hit_bytes": (BYTES, P),
    "llm_d_epp_inflight_requests": (GAUGE, LOAD),
    "llm_d_epp_inflight_tokens": (GAUGE, LOAD),
    "inference_objective_request_total": (COUNTER, (*M, "priority")),
    "inference_objective_request_error_total": (COUNTER, (*M, "error_code")),
    "inference_objective_request_duration_seconds": (L, M),
    "inference_objective_request_sizes": (REQUEST_BYTES, M),
    "inference_objective_response_sizes": (RESPONSE, M),
    "inference_objective_input_tokens": (IN, M),
    "inference_objective_output_tokens": (OUT, M),
    "inference_objective_prompt_cached_tokens": (IN, M),
    "inference_objective_running_requests": (GAUGE, ("model_name",)),
    "inference_objective_normalized_time_per_output_token_seconds": (NTPOT, M),
    "inference_objective_request_ttft_seconds": (L[:24], M),
    "inference_objective_request_tpot_seconds": (TPOT, M),
    "inference_extension_scheduler_e2e_duration_seconds": (S, ()),
    "inference_extension_scheduler_attempts_total": (
        COUNTER, ("status", "target_model_name", "pod_name", "namespace", "port")),
    "inference_extension_plugin_duration_seconds": (S, ("extension_point", "plugin_type", "plugin_name")),
    "inference_extension_info": (GAUGE, ("commit", "build_ref")),
    "inference_extension_prefix_indexer_size": (GAUGE, ()),
    "inference_extension_prefix_indexer_hit_ratio": (RATIO, ()),
    "inference_extension_prefix_indexer_hit_bytes": (BYTES, ()),
    "llm_d_inference_scheduler_disagg_decision_total": (COUNTER, ("model_name", "decision_type")),
    "llm_d_inference_scheduler_pd_decision_total": (COUNTER, ("model_name", "decision_type")),
    "llm_d_inference_scheduler_datalayer_poll_errors_total": (COUNTER, ("source_type",)),
    "llm_d_inference_scheduler_datalayer_extract_errors_total": (
        COUNTER, ("source_type", "extractor_type")),
}
"""Family → kind (for a histogram its upper bounds) and labels; the pool's gauges are in test_pool."""
# fmt: on

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \|.*\|$", re.MULTILINE)
SUCCESSOR = re.compile(r"^\| `(?P<old>\w+)` \|.*\| `(?P<new>\w+)` \|$", re.MULTILINE)


@pytest.fixture
def served() -> Metrics:
    metrics = Metrics()
    serve(metrics)
    return metrics


@pytest.mark.parametrize("name", PAGE)
def test_family_has_the_kind_labels_and_buckets_of_the_field(served: Metrics, name: str) -> None:
    family, (kind, labels) = page(served)[name], PAGE[name]
    assert family.samples
    assert family.type == (kind if isinstance(kind, str) else "histogram")
    assert {frozenset(s.labels) - {"le"} for s in family.samples} == {frozenset(labels)}
    if not isinstance(kind, str):
        bounds = dict.fromkeys(float(s.labels["le"]) for s in family.samples if "le" in s.labels)
        assert list(bounds) == [*kind, inf]


def test_page_has_no_other_families(served: Metrics) -> None:
    pool = {name for name in page(served) if "std_dev_" in name or "average_" in name}
    queues = {"llm_d_epp_ready_endpoints", "inference_pool_ready_pods"}
    queues |= {"llm_d_epp_per_endpoint_queue_size", "inference_pool_per_pod_queue_size"}
    assert set(page(served)) == set(PAGE) | pool | queues


def test_all_help_texts_tell_the_stability(served: Metrics) -> None:
    families = page(served).values()
    assert [f.name for f in families if not f.documentation.startswith("[ALPHA] ")] == []
    old = [f for f in families if not f.name.startswith("llm_d_epp_")]
    assert [f.name for f in old if "Deprecated, replaced by llm_d_epp_" not in f.documentation] == []


def registered() -> dict[str, Metric]:
    """Every family by the name on its TYPE line."""
    families = Metrics().registry.collect()
    return {m.name + ("_total" if m.type == "counter" else ""): m for m in families}


def test_every_family_is_documented_once_with_its_kind() -> None:
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert len(rows) == len(dict(rows))
    assert dict(rows) == {name: family.type for name, family in registered().items()}


def test_old_names_are_documented_with_their_successor() -> None:
    written = dict(SUCCESSOR.findall(DOCUMENT.read_text(encoding="utf-8")))
    told = {
        name: found[1]
        for name, family in registered().items()
        if (found := re.search(r"Deprecated, replaced by (\w+)\.", family.documentation))
    }
    assert written == told


def test_families_are_described_before_anything_happens() -> None:
    metrics = Metrics()
    some = metrics.registry.restricted_registry(["llm_d_epp_info", "inference_pool_ready_pods"])
    assert {m.name for m in some.collect()} == {"llm_d_epp_info"}
