"""Prometheus metrics under the field's names, the deprecated twins included.

Whoever counts calls one method for one event and knows no names, labels or buckets; those live in
`families`. Everything is written on the event loop's thread; a long page is best rendered in another one.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry

from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.records import record
from endpoint_picker.core.request import Usage
from endpoint_picker.observability.families import Families
from endpoint_picker.observability.pool import Pool
from endpoint_picker.observability.series import LONGEST_LABEL, Distinct, Histogram, Number

MOST_DISTINCT: Final = 1000
"""Distinct models, and tenants, that get a label of their own: both are whatever a client writes."""
MOST_REMEMBERED: Final = 4096
"""Label sets whose series are at hand; when there are more, all are looked up anew."""
MOST_TOKENS: Final = 2**53
"""More tokens than a float can count: a replica that reports so many is wrong."""
BYTES_A_TOKEN: Final = 4
UNKNOWN: Final = "unknown"
"""The model of a decision about a request that names none."""


class RequestLabels(NamedTuple):
    """The labels that most request metrics carry."""

    model: str
    target_model: str
    fairness_id: str
    priority: int


@record
class Finished:
    """How one request went, told once at its end."""

    seconds: float
    """From the request's headers to the end of the response."""
    response_bytes: int
    usage: Usage
    streaming: bool
    first_token_seconds: float | None
    """From the request's headers to the first byte of the response body; None: no body was seen."""


class Metrics:
    """Every series of the picker; one instance a process, handed to whoever counts."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        pool: str = "epp",
        clock: Callable[[], float] = time.monotonic,
        commit: str = "unknown",
        build_ref: str = "unknown",
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self.pool = pool
        self._families = Families()
        self._pool = Pool(pool, clock)
        self._model = Distinct(MOST_DISTINCT)
        self._fairness = Distinct(MOST_DISTINCT)
        self._series: dict[RequestLabels, _Series] = {}
        self._choices: dict[tuple[str, str, str, int], Number] = {}
        """(target model, endpoint's name, namespace, port) → how often it was chosen."""
        self._request_work = self._families.request_processing_duration_seconds.cell()
        self._response_work = self._families.response_processing_duration_seconds.cell()
        self._scheduling = self._families.scheduler_e2e_duration_seconds.cell()
        self._families.info.cell(commit, build_ref).value = 1
        self.registry.register(self._families)
        self.registry.register(self._pool)

    # === requests ===

    def received(self, labels: RequestLabels, size: int) -> None:
        """A request was parsed: count it and its bytes."""
        series = self._of(labels)
        series.request_total.value += 1
        series.request_size_bytes.observe(size)

    def running(self, labels: RequestLabels, change: int) -> None:
        """+1 when a request goes to a replica, -1 when it has ended (only where the model is named)."""
        if labels.model:
            self._of(labels).request_running.value += change

    def refused(self, labels: RequestLabels, code: str) -> None:
        """A request ended in an error: `code` is a Refusal's code, `ModelServerError` or `Unknown`."""
        self._families.request_error_total.cell(*self._of(labels).values, code).value += 1

    def token_gap(self, labels: RequestLabels, seconds: float) -> None:
        """Time between two chunks of a streamed response."""
        self._of(labels).request_streaming_itl_seconds.observe(seconds)

    def finished(self, labels: RequestLabels, outcome: Finished) -> None:
        """A response has ended: durations, sizes, tokens."""
        series = self._of(labels)
        series.request_duration_seconds.observe(outcome.seconds)
        series.response_size_bytes.observe(outcome.response_bytes)
        if outcome.first_token_seconds is not None:
            streaming = "true" if outcome.streaming else "false"
            self._families.request_ttft_seconds.cell(*series.values, streaming).observe(
                outcome.first_token_seconds
            )
        _tokens(series, outcome)

    # === the picker's own work ===

    def request_processed(self, seconds: float) -> None:
        """Time spent between the request's last byte and our answer."""
        self._request_work.observe(seconds)

    def response_processed(self, seconds: float) -> None:
        """Time that we spent on a response."""
        self._response_work.observe(seconds)

    def scheduled(self, seconds: float) -> None:
        """One scheduling cycle."""
        self._scheduling.observe(seconds)

    def attempt(self, target_model: str, endpoint: Endpoint | None) -> None:
        """A scheduling cycle chose this endpoint, or none (status `failure`)."""
        if endpoint is None:
            model = self._model(target_model)
            self._families.scheduler_attempts_total.cell("failure", model, "", "", "").value += 1
            return
        key = (target_model, endpoint.name, endpoint.namespace, endpoint.port)
        found = self._choices.get(key)
        (self._remember_choice(*key) if found is None else found).value += 1

    def plugin_timer(self, point: str, plugin_type: str, plugin_name: str) -> Callable[[float], None]:
        """What to tell how long each call of one plugin took; `point` is Filter, Scorer, Picker, …"""
        return self._families.plugin_duration_seconds.cell(point, plugin_type, plugin_name).observe

    def plugin_failed(self, point: str, plugin_type: str, plugin_name: str) -> None:
        """A call of a plugin raised, or its answer could not be used; the request went on without it."""
        self._families.plugin_failures_total.cell(point, plugin_type, plugin_name).value += 1

    def prefix_hit(
        self, plugin_name: str, plugin_type: str, hit_blocks: int, total: int, block_size: int
    ) -> None:
        """Prefix match of the chosen endpoint."""
        families = self._families
        if total > 0:
            families.prefix_indexer_hit_ratio.cell(plugin_name, plugin_type).observe(hit_blocks / total)
        length = hit_blocks * block_size * BYTES_A_TOKEN
        families.prefix_indexer_hit_bytes.cell(plugin_name, plugin_type).observe(length)

    def prefix_truth(self, plugin_name: str, plugin_type: str, predicted: float, cached: float) -> None:
        """Prompt tokens that an endpoint was thought to hold, and those that it said that it held."""
        families = self._families
        families.prefix_predicted_tokens_total.cell(plugin_name, plugin_type).value += predicted
        families.prefix_cached_tokens_total.cell(plugin_name, plugin_type).value += cached

    def prefix_size(self, plugin_name: str, plugin_type: str, blocks: int) -> None:
        """Blocks in an approximate prefix index."""
        self._families.prefix_indexer_size.cell(plugin_name, plugin_type).value = blocks

    def disagg_decided(self, plugin_name: str, plugin_type: str, model: str, decision_type: str) -> None:
        """A request's stages have their endpoints; the type is such as `decode-only` or `prefill-decode`."""
        values = (plugin_name, plugin_type, self._model(model or UNKNOWN), decision_type)
        self._families.disagg_decision_total.cell(*values).value += 1

    def pd_decided(self, plugin_name: str, plugin_type: str, model: str, decision_type: str) -> None:
        """The same, told by the deprecated handler."""
        values = (plugin_name, plugin_type, self._model(model or UNKNOWN), decision_type)
        self._families.pd_decision_total.cell(*values).value += 1

    def stage_skipped(self, plugin_name: str, plugin_type: str, stage: str, reason: str) -> None:
        """A stage (`prefill`, `encode`) was wanted, and nobody was found for it."""
        self._families.disagg_stages_skipped_total.cell(plugin_name, plugin_type, stage, reason).value += 1

    def no_strict_match(self, plugin_name: str, plugin_type: str, selector: str) -> None:
        """A request's header rules out everybody."""
        families = self._families
        cell = families.disaggregatedset_strict_header_no_match_total.cell(plugin_name, plugin_type, selector)
        cell.value += 1

    def revision_share(
        self, plugin_name: str, plugin_type: str, mode: str, revision: str, share: float
    ) -> None:
        """How likely a revision of replicas is to be given a request; 0 leaves the page."""
        families = self._families
        values = (plugin_name, plugin_type, mode, revision)
        families.disaggregatedset_revision_gating_share.cell(*values).value = share

    def in_flight(
        self, endpoint: Endpoint, producer: str, labels: RequestLabels, requests: int, tokens: int
    ) -> None:
        """Change of what is in flight at an endpoint (deltas, negative at the release).

        Series leave the page with their load, so that tenants that are gone leave nothing behind.
        """
        tenant = self._fairness(labels.fairness_id)
        values = (endpoint.name, endpoint.namespace, producer, tenant, str(labels.priority))
        self._families.inflight_requests.cell(*values).value += requests
        self._families.inflight_tokens.cell(*values).value += tokens

    # === the data layer ===

    def poll_failed(self, source_type: str) -> None:
        """A metrics page could not be had."""
        self._families.datalayer_poll_errors_total.cell(source_type).value += 1

    def extract_failed(self, source_type: str, extractor_type: str) -> None:
        """A metrics page could be had but not understood."""
        self._families.datalayer_extract_errors_total.cell(source_type, extractor_type).value += 1

    def inline_prefill(self, outcome: str, seconds: float) -> None:
        """A request has waited for its prompt to be computed elsewhere."""
        self._families.inline_prefill_seconds.cell(outcome).observe(seconds)

    def config_reloaded(self, *, success: bool) -> None:
        """The configuration was loaded anew, or could not be."""
        self._families.config_reloads_total.cell("success" if success else "failure").value += 1

    def watch(self, table: EndpointTable) -> None:
        """Show the pool's gauges (averages, ready endpoints, per-endpoint queue) from this table."""
        self._pool.table = table

    def _of(self, labels: RequestLabels) -> "_Series":
        found = self._series.get(labels)
        return self._remember(labels) if found is None else found

    def _remember(self, labels: RequestLabels) -> "_Series":
        model, target, fairness, priority = labels
        values = (self._model(model), self._model(target), self._fairness(fairness), str(priority))
        series = _Series(self._families, values)
        if max(map(len, (model, target, fairness))) <= LONGEST_LABEL:
            if len(self._series) >= MOST_REMEMBERED:
                self._series.clear()
            self._series[labels] = series
        return series

    def _remember_choice(self, target_model: str, name: str, namespace: str, port: int) -> Number:
        values = ("success", self._model(target_model), name, namespace, str(port))
        cell = self._families.scheduler_attempts_total.cell(*values)
        if len(target_model) <= LONGEST_LABEL:
            if len(self._choices) >= MOST_REMEMBERED:
                self._choices.clear()
            self._choices[target_model, name, namespace, port] = cell
        return cell


class _Series:
    """The request series of one label set; each is made when it is first written to."""

    request_total: Number
    request_running: Number
    request_size_bytes: Histogram
    response_size_bytes: Histogram
    request_duration_seconds: Histogram
    request_input_tokens: Histogram
    request_cached_tokens: Histogram
    request_output_tokens: Histogram
    request_ntpot_seconds: Histogram
    request_streaming_tpot_seconds: Histogram
    request_streaming_itl_seconds: Histogram

    def __init__(self, families: Families, values: tuple[str, str, str, str]) -> None:
        self._families = families
        self.values = values

    def __getattr__(self, name: str) -> Number | Histogram:
        """Called only for what is not there yet; the attributes are named like the families."""
        cell: Number | Histogram = getattr(self._families, name).cell(*self.values)
        setattr(self, name, cell)
        return cell


def _tokens(series: _Series, outcome: Finished) -> None:
    """Counts that the replica reported: absent or impossible ones are left out."""
    usage, output = outcome.usage, outcome.usage.completion_tokens
    if usage.prompt_tokens is not None and 0 < usage.prompt_tokens < MOST_TOKENS:
        series.request_input_tokens.observe(usage.prompt_tokens)
    if usage.cached_tokens is not None and 0 <= usage.cached_tokens < MOST_TOKENS:
        series.request_cached_tokens.observe(usage.cached_tokens)
    if output is None or not 0 < output < MOST_TOKENS:
        return
    series.request_output_tokens.observe(output)
    series.request_ntpot_seconds.observe(outcome.seconds / output)
    if outcome.streaming and output > 1 and outcome.first_token_seconds is not None:
        later = outcome.seconds - outcome.first_token_seconds
        series.request_streaming_tpot_seconds.observe(later / (output - 1))
