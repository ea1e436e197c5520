"""The catalogue of series: names, labels and buckets that dashboards in the field already know.

Whatever is written here once is what the page shows; `docs/metrics.md` explains each entry to operators.
A twin is the same measurement under the name that it had before, see `series`.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from prometheus_client import Metric

from endpoint_picker.observability.series import (
    Family,
    Histogram,
    Twin,
    counters,
    fleeting,
    gauges,
    histograms,
)

PREFIX: Final = "llm_d_epp_"
OBJECTIVE: Final = "inference_objective_"
EXTENSION: Final = "inference_extension_"
POOL: Final = "inference_pool_"
SCHEDULER: Final = "llm_d_inference_scheduler_"

REQUEST: Final = ("model_name", "target_model_name", "fairness_id", "priority")
PLUGIN: Final = ("plugin_name", "plugin_type")
MODELS: Final = {"model_name": "model_name", "target_model_name": "target_model_name"}
"""Labels of most request twins: they know no tenants and no priorities."""

# === upper bounds ===

# fmt: off
LATENCY: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
    120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
)
FIRST_TOKEN: Final = LATENCY[: LATENCY.index(120) + 1]
PER_TOKEN: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
STREAMED_TOKEN: Final = (
    0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1,
    2,
)
GAP: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2)
INTERNAL: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
REQUEST_WORK: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
)
RESPONSE_WORK: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
)
# fmt: on
OUTPUT_TOKENS: Final = (1, *(2**n for n in range(3, 14)))
# 32778 (not 32768) is the bound in the field: buckets that differ could not be added up with it.
RESPONSE_BYTES: Final = (*OUTPUT_TOKENS, 16384, 32778, 65536)
INPUT_TOKENS: Final = (*RESPONSE_BYTES, *(2**n for n in range(17, 21)))
REQUEST_BYTES: Final = tuple(2**n for n in range(6, 31))
HIT_RATIO: Final = tuple(tenth / 10 for tenth in range(11))
HIT_BYTES: Final = (0, *(2**n for n in range(4, 17)))


class Families:
    """Every family that is written to as things happen; one instance a registry."""

    def __init__(self) -> None:
        self._add_requests()
        self._add_tokens()
        self._add_work()
        self._add_plugins()
        self._add_stages()
        self._add_load()
        self._add_data_layer()

    def __iter__(self) -> Iterator[Family[Any]]:
        return iter(vars(self).values())

    def describe(self) -> Iterator[Metric]:
        """Name and kind of every family, without series."""
        return chain.from_iterable(family.describe() for family in self)

    def collect(self) -> Iterator[Metric]:
        """The page, family by family."""
        return chain.from_iterable(family.collect() for family in self)

    def _add_requests(self) -> None:
        self.request_total = counters(
            f"{PREFIX}request_total",
            "Requests that were parsed.",
            REQUEST,
            twin=Twin(f"{OBJECTIVE}request_total", {**MODELS, "priority": "priority"}),
        )
        self.request_error_total = counters(
            f"{PREFIX}request_error_total",
            "Requests that ended in an error, by its code.",
            (*REQUEST, "error_code"),
            twin=Twin(f"{OBJECTIVE}request_error_total", {**MODELS, "error_code": "error_code"}),
        )
        self.request_running = gauges(
            f"{PREFIX}request_running",
            "Requests that a replica is serving.",
            REQUEST,
            twin=Twin(f"{OBJECTIVE}running_requests", {"model_name": "model_name"}),
        )
        self.request_duration_seconds = _requests(
            "request_duration_seconds",
            "Time from the request's headers to the end of the response.",
            LATENCY,
            twin="request_duration_seconds",
        )
        self.request_size_bytes = _requests(
            "request_size_bytes", "Size of the request body.", REQUEST_BYTES, twin="request_sizes"
        )
        self.response_size_bytes = _requests(
            "response_size_bytes", "Size of the response body.", RESPONSE_BYTES, twin="response_sizes"
        )

    def _add_tokens(self) -> None:
        self.request_input_tokens = _requests(
            "request_input_tokens",
            "Prompt tokens, as the replica counted.",
            INPUT_TOKENS,
            twin="input_tokens",
        )
        self.request_cached_tokens = _requests(
            "request_cached_tokens",
            "Prompt tokens that the replica took from its prefix cache.",
            INPUT_TOKENS,
            twin="prompt_cached_tokens",
        )
        self.request_output_tokens = _requests(
            "request_output_tokens",
            "Generated tokens, as the replica counted.",
            OUTPUT_TOKENS,
            twin="output_tokens",
        )
        self.request_ntpot_seconds = _requests(
            "request_ntpot_seconds",
            "Duration of a request divided by its output tokens.",
            PER_TOKEN,
            twin="normalized_time_per_output_token_seconds",
        )
        self.request_ttft_seconds = histograms(
            f"{PREFIX}request_ttft_seconds",
            "Time from the request's headers to the first byte of the response body.",
            (*REQUEST, "streaming"),
            buckets=FIRST_TOKEN,
            twin=Twin(f"{OBJECTIVE}request_ttft_seconds", MODELS),
        )
        self.request_streaming_tpot_seconds = _requests(
            "request_streaming_tpot_seconds",
            "Time after the first token, divided by the further tokens, of streamed responses.",
            STREAMED_TOKEN,
            twin="request_tpot_seconds",
        )
        self.request_streaming_itl_seconds = _requests(
            "request_streaming_itl_seconds", "Time between two chunks of a streamed response.", GAP
        )

    def _add_work(self) -> None:
        self.request_processing_duration_seconds = histograms(
            f"{PREFIX}request_processing_duration_seconds",
            "Time from the request's last byte to the picker's answer.",
            (),
            buckets=REQUEST_WORK,
        )
        self.response_processing_duration_seconds = histograms(
            f"{PREFIX}response_processing_duration_seconds",
            "Time that the picker spent on one response.",
            (),
            buckets=RESPONSE_WORK,
        )
        self.scheduler_e2e_duration_seconds = histograms(
            f"{PREFIX}scheduler_e2e_duration_seconds",
            "Time of one scheduling cycle.",
            (),
            buckets=INTERNAL,
            twin=Twin(f"{EXTENSION}scheduler_e2e_duration_seconds"),
        )
        self.scheduler_attempts_total = counters(
            f"{PREFIX}scheduler_attempts_total",
            "Scheduling cycles by their outcome and the chosen endpoint.",
            ("status", "target_model_name", "endpoint_name", "namespace", "port"),
            twin=Twin(
                f"{EXTENSION}scheduler_attempts_total",
                {
                    **_same("status", "target_model_name"),
                    "pod_name": "endpoint_name",
                    **_same("namespace", "port"),
                },
            ),
        )

    def _add_plugins(self) -> None:
        self.plugin_duration_seconds = histograms(
            f"{PREFIX}plugin_duration_seconds",
            "Time of one call of a plugin.",
            ("extension_point", "plugin_type", "plugin_name"),
            buckets=INTERNAL,
            twin=Twin(
                f"{EXTENSION}plugin_duration_seconds", _same("extension_point", "plugin_type", "plugin_name")
            ),
        )
        self.plugin_failures_total = counters(
            f"{PREFIX}plugin_failures_total",
            "Calls of a plugin that raised, or answered something of another shape.",
            ("extension_point", "plugin_type", "plugin_name"),
        )
        self.prefix_indexer_size = gauges(
            f"{PREFIX}prefix_indexer_size",
            "Blocks in an approximate prefix index.",
            PLUGIN,
            twin=Twin(f"{EXTENSION}prefix_indexer_size"),
        )
        self.prefix_indexer_hit_ratio = histograms(
            f"{PREFIX}prefix_indexer_hit_ratio",
            "Share of the prompt that the chosen endpoint was thought to hold.",
            PLUGIN,
            buckets=HIT_RATIO,
            twin=Twin(f"{EXTENSION}prefix_indexer_hit_ratio"),
        )
        self.prefix_indexer_hit_bytes = histograms(
            f"{PREFIX}prefix_indexer_hit_bytes",
            "Length of that share, at four bytes a token.",
            PLUGIN,
            buckets=HIT_BYTES,
            twin=Twin(f"{EXTENSION}prefix_indexer_hit_bytes"),
        )
        self.prefix_predicted_tokens_total = counters(
            f"{PREFIX}prefix_predicted_tokens_total",
            "Prompt tokens that the serving endpoint was thought to hold, of responses that told the truth.",
            PLUGIN,
        )
        self.prefix_cached_tokens_total = counters(
            f"{PREFIX}prefix_cached_tokens_total",
            "Prompt tokens that it took from its cache, of the same responses.",
            PLUGIN,
        )
        self.disaggregatedset_strict_header_no_match_total = counters(
            f"{PREFIX}disaggregatedset_strict_header_no_match_total",
            "Requests with a strict header that no endpoint matches.",
            (*PLUGIN, "selector"),
        )
        self.disaggregatedset_revision_gating_share = fleeting(
            f"{PREFIX}disaggregatedset_revision_gating_share",
            "Share of the requests that a revision is given.",
            (*PLUGIN, "mode", "revision"),
        )

    def _add_stages(self) -> None:
        decision = ("model_name", "decision_type")
        self.disagg_decision_total = counters(
            f"{PREFIX}disagg_decision_total",
            "Requests by the stages that run on endpoints of their own.",
            (*PLUGIN, *decision),
            twin=Twin(f"{SCHEDULER}disagg_decision_total", _same(*decision)),
        )
        self.pd_decision_total = counters(
            f"{PREFIX}pd_decision_total",
            "The same for the deprecated handler of two stages.",
            (*PLUGIN, *decision),
            twin=Twin(f"{SCHEDULER}pd_decision_total", _same(*decision)),
        )
        self.disagg_stages_skipped_total = counters(
            f"{PREFIX}disagg_stages_skipped_total",
            "Stages that should have run on an endpoint of their own, had their profile found one.",
            (*PLUGIN, "stage", "reason"),
        )

    def _add_load(self) -> None:
        load = ("endpoint_name", "namespace", "producer_name", "fairness_id", "priority")
        self.inflight_requests = fleeting(
            f"{PREFIX}inflight_requests", "Requests in flight at an endpoint.", load
        )
        self.inflight_tokens = fleeting(f"{PREFIX}inflight_tokens", "Tokens charged for them.", load)

    def _add_data_layer(self) -> None:
        self.datalayer_poll_errors_total = counters(
            f"{PREFIX}datalayer_poll_errors_total",
            "Metrics pages of replicas that could not be had.",
            ("source_type",),
            twin=Twin(f"{SCHEDULER}datalayer_poll_errors_total", _same("source_type")),
        )
        self.datalayer_extract_errors_total = counters(
            f"{PREFIX}datalayer_extract_errors_total",
            "Metrics pages of replicas that could not be understood.",
            ("source_type", "extractor_type"),
            twin=Twin(f"{SCHEDULER}datalayer_extract_errors_total", _same("source_type", "extractor_type")),
        )
        self.inline_prefill_seconds = histograms(
            f"{PREFIX}inline_prefill_seconds",
            "How long requests waited for an endpoint that computes their prompt, and what came of it.",
            ("outcome",),
            buckets=FIRST_TOKEN,
        )
        self.config_reloads_total = counters(
            f"{PREFIX}config_reloads_total",
            "Times that the configuration was loaded anew: success, or failure (the old one stays).",
            ("result",),
        )
        self.info = gauges(
            f"{PREFIX}info",
            "Always 1; its labels name the build.",
            ("commit", "build_ref"),
            twin=Twin(f"{EXTENSION}info", _same("commit", "build_ref")),
        )


def _requests(
    name: str, help: str, buckets: tuple[float, ...], *, twin: str | None = None
) -> Family[Histogram]:
    mirrored = Twin(OBJECTIVE + twin, MODELS) if twin else None
    return histograms(PREFIX + name, help, REQUEST, buckets=buckets, twin=mirrored)


def _same(*labels: str) -> dict[str, str]:
    return {label: label for label in labels}
