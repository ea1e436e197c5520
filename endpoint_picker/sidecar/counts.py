"""What the sidecar counts, on a page of its own: the proxied port belongs to the engine."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX: Final = "endpoint_picker_sidecar_"
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120)


class Counts:
    """Every series of the sidecar; one instance a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.open = Gauge(f"{PREFIX}open_requests", "Requests under way.", registry=self.registry)
        self.prefills = Counter(
            f"{PREFIX}prefills",
            "Prompts sent elsewhere. outcome: done; empty (nothing to hand over, decoded plainly); "
            "fallback (failed, decoded without it); failed (and so did the request).",
            ("connector", "outcome", "reason"),
            registry=self.registry,
        )
        self.prefill_seconds = Histogram(
            f"{PREFIX}prefill_seconds",
            "Time of the prefill leg, retries included.",
            ("connector",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.encodes = Counter(
            f"{PREFIX}encodes",
            "Requests whose media went to encoders. outcome: done or failed.",
            ("connector", "outcome"),
            registry=self.registry,
        )
        self.refused = Counter(
            f"{PREFIX}refused_targets",
            "Places that a header named and nobody allowed.",
            ("header",),
            registry=self.registry,
        )

    def under_way(self) -> int:
        """Requests that have not ended."""
        return int(self.registry.get_sample_value(f"{PREFIX}open_requests") or 0)
