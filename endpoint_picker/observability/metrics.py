"""Prometheus metrics under the field's names, the deprecated twins included."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.request import Usage


@dataclass(frozen=True, slots=True)
class RequestLabels:
    """The labels that most request metrics carry."""

    model: str
    target_model: str
    fairness_id: str
    priority: int


@dataclass(frozen=True, slots=True)
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

    def __init__(self, registry: CollectorRegistry | None = None, *, pool: str = "epp") -> None:
        self.registry = registry or CollectorRegistry()
        self.pool = pool

    # === requests ===

    def received(self, labels: RequestLabels, size: int) -> None:
        """A request was parsed: count it and its bytes."""

    def running(self, labels: RequestLabels, change: int) -> None:
        """+1 when a request goes to a replica, -1 when it has ended (only where the model is named)."""

    def refused(self, labels: RequestLabels, code: str) -> None:
        """A request ended in an error: `code` is a Refusal's code, `ModelServerError` or `Unknown`."""

    def token_gap(self, labels: RequestLabels, seconds: float) -> None:
        """Time between two chunks of a streamed response."""

    def finished(self, labels: RequestLabels, outcome: Finished) -> None:
        """A response has ended: durations, sizes, tokens."""

    # === the picker's own work ===

    def request_processed(self, seconds: float) -> None:
        """Time spent between the request's last byte and our answer."""

    def response_processed(self, seconds: float) -> None:
        """Time that we spent on a response."""

    def scheduled(self, seconds: float) -> None:
        """One scheduling cycle."""

    def attempt(self, target_model: str, endpoint: Endpoint | None) -> None:
        """A scheduling cycle chose this endpoint, or none (status `failure`)."""

    def plugin(self, point: str, plugin_type: str, plugin_name: str, seconds: float) -> None:
        """One call of one plugin; `point` is Filter, Scorer, Picker, DataProducer, …"""

    def prefix_hit(
        self, plugin_name: str, plugin_type: str, hit_blocks: int, total: int, block_size: int
    ) -> None:
        """Prefix match of the chosen endpoint."""

    def prefix_size(self, plugin_name: str, plugin_type: str, blocks: int) -> None:
        """Blocks in an approximate prefix index."""

    def in_flight(
        self, endpoint: Endpoint, producer: str, labels: RequestLabels, requests: int, tokens: int
    ) -> None:
        """Change of what is in flight at an endpoint (deltas, negative at the release)."""

    # === the data layer ===

    def poll_failed(self, source_type: str) -> None:
        """A metrics page could not be had."""

    def extract_failed(self, source_type: str, extractor_type: str) -> None:
        """A metrics page could be had but not understood."""

    def watch(self, table: EndpointTable) -> None:
        """Show the pool's gauges (averages, ready endpoints, per-endpoint queue) from this table."""
