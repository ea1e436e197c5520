"""One request told to the metrics, and the page as a scraper reads it."""

from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.request import Usage
from endpoint_picker.observability.metrics import Finished, Metrics, RequestLabels

LABELS = RequestLabels("llama", "llama-v2", "team-a", 3)
ENDPOINT = Endpoint("pod-1-rank-0", "10.0.0.1", 8000, "models")
USAGE = Usage(prompt_tokens=100, completion_tokens=11, cached_tokens=64)
STREAMED = Finished(4.0, 5000, USAGE, streaming=True, first_token_seconds=1.5)


def serve(metrics: Metrics, labels: RequestLabels = LABELS, outcome: Finished = STREAMED) -> None:
    """Everything that one request may tell while it is still in flight."""
    metrics.received(labels, 2000)
    for point, name in (("Filter", "f"), ("Scorer", "s"), ("Picker", "p")):
        metrics.plugin_timer(point, f"{name}-type", name)(0.00015)
    metrics.plugin_failed("Scorer", "s-type", "s")
    metrics.scheduled(0.0004)
    metrics.attempt(labels.target_model, ENDPOINT)
    metrics.attempt(labels.target_model, None)
    metrics.prefix_hit("approx", "approx-prefix", 3, 12, 16)
    metrics.prefix_size("approx", "approx-prefix", 77)
    metrics.prefix_truth("approx", "approx-prefix", 75.0, 64.0)
    metrics.config_reloaded(success=True)
    metrics.disagg_decided("disagg", "d-type", labels.target_model, "prefill-decode")
    metrics.pd_decided("pd", "pd-type", labels.target_model, "decode-only")
    metrics.stage_skipped("disagg", "d-type", "prefill", "no-endpoint")
    metrics.inline_prefill("computed", 0.3)
    metrics.no_strict_match("rollout", "r-type", "revision")
    metrics.revision_share("rollout", "r-type", "sum", "a", 0.75)
    metrics.in_flight(ENDPOINT, "inflight-load-producer", labels, 1, 120)
    metrics.running(labels, 1)
    metrics.request_processed(0.003)
    metrics.token_gap(labels, 0.03)
    metrics.response_processed(0.0002)
    metrics.finished(labels, outcome)
    metrics.refused(labels, "ModelServerError")
    metrics.poll_failed("metrics-data-source")
    metrics.extract_failed("metrics-data-source", "core-metrics-extractor")


def page(metrics: Metrics) -> dict[str, Metric]:
    """The text page, parsed, by the name that its TYPE line has."""
    text = generate_latest(metrics.registry).decode()
    families = list(text_string_to_metric_families(text))
    return {m.name + ("_total" if m.type == "counter" else ""): m for m in families}


def openmetrics_page(metrics: Metrics) -> dict[str, Metric]:
    """The same in the other text format."""
    text = openmetrics.generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    families: list[Metric] = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    return {m.name + ("_total" if m.type == "counter" else ""): m for m in families}
