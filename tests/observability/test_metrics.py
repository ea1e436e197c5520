"""The page as a scraper sees it: names, labels, buckets, values, and what a hostile client can do to it."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, generate_latest

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.request import Usage
from endpoint_picker.observability.metrics import MOST_DISTINCT, Finished, Metrics, RequestLabels
from tests.fakes.metrics_page import ENDPOINT, LABELS, STREAMED, openmetrics_page, page, serve

VALUES = {"model_name": "llama", "target_model_name": "llama-v2", "fairness_id": "team-a", "priority": "3"}


def value(metrics: Metrics, name: str, labels: dict[str, str] | None = None) -> float | None:
    return metrics.registry.get_sample_value(name, labels or {})


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(clock=lambda: 0.0, commit="abc123", build_ref="v1.2")


@pytest.fixture
def served(metrics: Metrics) -> Metrics:
    serve(metrics)
    return metrics


def test_openmetrics_page_says_the_same(served: Metrics) -> None:
    families, plain = openmetrics_page(served), page(served)
    assert families.keys() == plain.keys()
    for name, family in families.items():
        told = {(s.name, frozenset(s.labels.items()), s.value) for s in family.samples}
        assert told == {(s.name, frozenset(s.labels.items()), s.value) for s in plain[name].samples}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llm_d_epp_request_total", 1),
        ("llm_d_epp_request_running", 1),
        ("llm_d_epp_request_duration_seconds_sum", 4.0),
        ("llm_d_epp_request_size_bytes_sum", 2000),
        ("llm_d_epp_response_size_bytes_sum", 5000),
        ("llm_d_epp_request_input_tokens_sum", 100),
        ("llm_d_epp_request_cached_tokens_sum", 64),
        ("llm_d_epp_request_output_tokens_sum", 11),
        ("llm_d_epp_request_ntpot_seconds_sum", 4.0 / 11),
        ("llm_d_epp_request_streaming_tpot_seconds_sum", 0.25),
        ("llm_d_epp_request_streaming_itl_seconds_sum", 0.03),
    ],
)
def test_one_request_is_told_by_its_series(served: Metrics, name: str, expected: float) -> None:
    assert value(served, name, VALUES) == expected


def test_first_token_is_told_apart_by_streaming(metrics: Metrics) -> None:
    metrics.finished(LABELS, STREAMED)
    metrics.finished(LABELS, Finished(2.0, 10, Usage(), streaming=False, first_token_seconds=1.75))
    name = "llm_d_epp_request_ttft_seconds_sum"
    assert value(metrics, name, {**VALUES, "streaming": "true"}) == 1.5
    assert value(metrics, name, {**VALUES, "streaming": "false"}) == 1.75


@pytest.mark.parametrize(
    "outcome",
    [
        Finished(1.0, 10, Usage(), streaming=True, first_token_seconds=None),
        Finished(1.0, 10, Usage(-1, -1, -1), streaming=True, first_token_seconds=0.5),
        Finished(1.0, 10, Usage(10**400, 10**400, 10**400), streaming=True, first_token_seconds=0.5),
    ],
)
def test_absent_and_impossible_counts_are_not_observed(metrics: Metrics, outcome: Finished) -> None:
    metrics.finished(LABELS, outcome)
    for name in ("input_tokens", "output_tokens", "cached_tokens", "ntpot_seconds", "streaming_tpot_seconds"):
        assert value(metrics, f"llm_d_epp_request_{name}_count", VALUES) is None, name
    assert value(metrics, "llm_d_epp_request_duration_seconds_count", VALUES) == 1


@pytest.mark.parametrize(
    ("completion", "streaming", "first"), [(1, True, 0.5), (5, False, 0.5), (5, True, None)]
)
def test_time_per_token_needs_a_stream_of_several_tokens(
    metrics: Metrics, completion: int, streaming: bool, first: float | None
) -> None:
    usage = Usage(completion_tokens=completion)
    metrics.finished(LABELS, Finished(1.0, 10, usage, streaming=streaming, first_token_seconds=first))
    assert value(metrics, "llm_d_epp_request_ntpot_seconds_count", VALUES) == 1
    assert value(metrics, "llm_d_epp_request_streaming_tpot_seconds_count", VALUES) is None


def test_cache_that_gave_nothing_is_a_reading_too(metrics: Metrics) -> None:
    metrics.finished(LABELS, Finished(1.0, 10, Usage(0, 0, 0), streaming=False, first_token_seconds=None))
    assert value(metrics, "llm_d_epp_request_cached_tokens_count", VALUES) == 1
    assert value(metrics, "llm_d_epp_request_output_tokens_count", VALUES) is None


def test_twins_add_up_what_their_labels_do_not_tell(metrics: Metrics) -> None:
    serve(metrics)
    serve(metrics, RequestLabels("llama", "llama-v2", "team-b", 0))
    serve(metrics, RequestLabels("qwen", "qwen", "team-b", 3))
    llama = {"model_name": "llama", "target_model_name": "llama-v2"}
    old = "inference_objective_"
    assert value(metrics, f"{old}request_total", {**llama, "priority": "3"}) == 1
    assert value(metrics, f"{old}request_error_total", {**llama, "error_code": "ModelServerError"}) == 2
    assert value(metrics, f"{old}running_requests", {"model_name": "llama"}) == 2
    assert value(metrics, f"{old}request_ttft_seconds_sum", llama) == 3.0
    assert value(metrics, f"{old}request_duration_seconds_bucket", {**llama, "le": "4.0"}) == 2
    assert value(metrics, f"{old}request_duration_seconds_bucket", {**llama, "le": "3.0"}) == 0


def test_twins_of_the_same_labels_are_equal(served: Metrics) -> None:
    families = page(served)
    for new, old in (
        ("llm_d_epp_scheduler_e2e_duration_seconds", "inference_extension_scheduler_e2e_duration_seconds"),
        ("llm_d_epp_plugin_duration_seconds", "inference_extension_plugin_duration_seconds"),
        ("llm_d_epp_info", "inference_extension_info"),
    ):
        assert _content(families[new]) == _content(families[old])


def _content(family: Metric) -> list[tuple[str, dict[str, str], float]]:
    return [(s.name.removeprefix(family.name), s.labels, s.value) for s in family.samples]


def test_attempts_name_the_endpoint_or_nobody(served: Metrics) -> None:
    chosen = {"target_model_name": "llama-v2", "namespace": "models", "port": "8000"}
    nobody = {"target_model_name": "llama-v2", "namespace": "", "port": ""}
    for prefix, label in (("llm_d_epp", "endpoint_name"), ("inference_extension", "pod_name")):
        name = f"{prefix}_scheduler_attempts_total"
        assert value(served, name, {**chosen, "status": "success", label: "pod-1-rank-0"}) == 1
        assert value(served, name, {**nobody, "status": "failure", label: ""}) == 1


def test_prefix_hit_is_a_share_and_a_length(metrics: Metrics) -> None:
    metrics.prefix_hit("approx", "approx-prefix", 3, 12, 16)
    metrics.prefix_hit("approx", "approx-prefix", 0, 0, 16)
    labels = {"plugin_name": "approx", "plugin_type": "approx-prefix"}
    assert value(metrics, "llm_d_epp_prefix_indexer_hit_ratio_sum", labels) == 0.25
    assert value(metrics, "llm_d_epp_prefix_indexer_hit_ratio_count", labels) == 1
    assert value(metrics, "llm_d_epp_prefix_indexer_hit_bytes_sum", labels) == 3 * 16 * 4
    assert value(metrics, "llm_d_epp_prefix_indexer_hit_bytes_bucket", {**labels, "le": "0.0"}) == 1


def test_build_is_told(served: Metrics) -> None:
    assert value(served, "llm_d_epp_info", {"commit": "abc123", "build_ref": "v1.2"}) == 1


def test_requests_without_a_model_do_not_count_as_running(metrics: Metrics) -> None:
    metrics.running(RequestLabels("", "", "default-flow", 0), 1)
    assert page(metrics)["llm_d_epp_request_running"].samples == []


def test_two_pickers_cannot_share_a_registry() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Metrics(registry)


def test_page_can_be_read_in_another_thread(metrics: Metrics) -> None:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: [generate_latest(metrics.registry) for _ in range(10)])
        written = 0
        while not reading.done():
            written += 1
            labels = RequestLabels(f"m{written}", "m", "f", 0)
            metrics.received(labels, 1)
            metrics.in_flight(ENDPOINT, f"p{written % 7}", labels, 1 if written % 2 else -1, 0)
    assert len(reading.result()) == 10
    assert sum(s.value for s in page(metrics)["llm_d_epp_request_total"].samples) == written


# === bounds ===


@pytest.mark.parametrize("label", ["model_name", "fairness_id"])
def test_values_past_the_cap_collapse(metrics: Metrics, label: str) -> None:
    for n in range(MOST_DISTINCT + 20):
        made_up = f"name-{n}"
        known = label == "model_name"
        metrics.received(RequestLabels(made_up if known else "m", "m", "f" if known else made_up, 0), 1)
    metrics.received(RequestLabels("m", "m", "f", 0), 1)
    family = page(metrics)["llm_d_epp_request_total"]
    counts: dict[str, float] = {}
    for sample in family.samples:
        counts[sample.labels[label]] = counts.get(sample.labels[label], 0) + sample.value
    assert counts["name-0"] == counts[f"name-{MOST_DISTINCT // 2}"] == 1
    assert counts["other"] >= 20
    assert len(counts) <= MOST_DISTINCT + 1
    assert sum(counts.values()) == MOST_DISTINCT + 21


def test_models_times_tenants_are_bounded(metrics: Metrics) -> None:
    for n in range(6000):
        metrics.running(RequestLabels(f"m{n % 80}", "", f"f{n // 80}", 0), 1)
    family = page(metrics)["llm_d_epp_request_running"]
    assert len(family.samples) <= 4096 + 1
    assert sum(s.value for s in family.samples) == 6000
    for n in range(6000):
        metrics.running(RequestLabels(f"m{n % 80}", "", f"f{n // 80}", 0), -1)
    assert {s.value for s in page(metrics)["llm_d_epp_request_running"].samples} == {0}


def test_models_times_endpoints_are_bounded_and_every_attempt_is_counted(metrics: Metrics) -> None:
    endpoints = [Endpoint(f"pod-{n}", "10.0.0.1", 8000) for n in range(90)]
    for model in [f"m{n}" for n in range(50)] + ["long" * 5000]:
        for endpoint in endpoints * 2:
            metrics.attempt(model, endpoint)
    samples = page(metrics)["llm_d_epp_scheduler_attempts_total"].samples
    assert len(samples) <= 4096 + 1
    assert sum(s.value for s in samples) == 51 * 90 * 2
    assert {s.value for s in samples if s.labels["endpoint_name"] != "other"} == {2}


def test_load_leaves_the_page_with_its_last_request(metrics: Metrics) -> None:
    for _ in range(2):
        metrics.in_flight(ENDPOINT, "producer", LABELS, 1, 50)
    labels = {"endpoint_name": "pod-1-rank-0", "namespace": "models", "producer_name": "producer"}
    labels |= {"fairness_id": "team-a", "priority": "3"}
    metrics.in_flight(ENDPOINT, "producer", LABELS, -1, -50)
    assert value(metrics, "llm_d_epp_inflight_requests", labels) == 1
    assert value(metrics, "llm_d_epp_inflight_tokens", labels) == 50
    metrics.in_flight(ENDPOINT, "producer", LABELS, -1, -50)
    assert page(metrics)["llm_d_epp_inflight_requests"].samples == []
    assert page(metrics)["llm_d_epp_inflight_tokens"].samples == []


def test_charge_and_release_meet_however_many_there_are(metrics: Metrics) -> None:
    """Far more series than any cap, all released in the end: nothing is lost, nothing stays."""
    endpoints = [Endpoint(f"pod-{n}", "10.0.0.1", n) for n in range(9000)]
    for sign in (1, -1):
        for endpoint in endpoints:
            metrics.in_flight(endpoint, "producer", LABELS, sign, sign * 10)
        shown = page(metrics)["llm_d_epp_inflight_tokens"].samples
        assert [s.value for s in shown] == ([10] * 9000 if sign > 0 else [])


@given(st.lists(st.text(max_size=40), min_size=2, max_size=4), st.integers(-(10**9), 10**9))
@settings(max_examples=30, deadline=None)
def test_no_label_breaks_the_page(names: list[str], priority: int) -> None:
    metrics = Metrics(clock=lambda: 0.0)
    for name in names:
        serve(metrics, RequestLabels(name, names[0], names[-1], priority))
    assert _unique(page(metrics).values()) == len(names)


@pytest.mark.parametrize(
    "name", ['quo"te', "back\\slash", "line\nbreak", "\r\n# HELP x", "nul\0", "\ud800\udfff", "é" * 5000]
)
def test_awkward_names_are_counted_under_a_clean_one(metrics: Metrics, name: str) -> None:
    serve(metrics, RequestLabels(name, name, name, 0))
    serve(metrics, RequestLabels(name, name, name, 0))
    family = page(metrics)["llm_d_epp_request_total"]
    assert [s.value for s in family.samples] == [2]
    shown = family.samples[0].labels["model_name"]
    assert shown.isprintable()
    assert len(shown) <= 256
    assert openmetrics_page(metrics).keys() == page(metrics).keys()


def _unique(families: Iterable[Metric]) -> float:
    """Requests counted on the page; asserts on the way that no series is there twice."""
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    total = 0.0
    for sample in (sample for family in families for sample in family.samples):
        series = (sample.name, frozenset(sample.labels.items()))
        assert series not in seen
        seen.add(series)
        total += sample.value if sample.name == "llm_d_epp_request_total" else 0
    return total
