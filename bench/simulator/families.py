"""Which gauges and counters a replica shows, by the names of vLLM, and where their numbers come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.simulator.engine import Engine
from bench.simulator.telemetry import Telemetry

Read = Callable[[Engine, Telemetry], Sequence[float]]
"""The values of one engine, in the order of the label's values."""


@dataclass(frozen=True, slots=True)
class Family:
    """One gauge or counter; counters get their `_total` later."""

    name: str
    read: Read
    key: str = ""
    """The label that tells an engine's series apart, and its values."""
    values: tuple[str, ...] = ("",)
    engines: bool = True
    """Whether each engine has series of its own."""


HELP = {
    "num_requests_running": "Requests in the batch.",
    "num_requests_waiting": "Requests in the queue, those that await KV entries included.",
    "num_requests_waiting_by_reason": "Requests in the queue, by what they wait for.",
    "engine_sleep_state": "1 for the state in which the engine is.",
    "kv_cache_usage_perc": "Taken share of the KV cache, 0 to 1.",
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "external_prefix_cache_queries": "Prompt tokens that the prefix cache did not have.",
    "external_prefix_cache_hits": "Those of them that another engine was to give.",
    "prompt_tokens": "Prompt tokens of requests that got their first token.",
    "generation_tokens": "Tokens generated.",
    "request_success": "Requests ended, by reason.",
    "cache_config_info": "Configuration of the cache as labels.",
    "lora_requests_info": "Adapters in use; the value is the unix time when that was so.",
    "nixl_num_failed_transfers": "Prompts whose KV entries could not be fetched.",
    "nixl_num_kv_expired_reqs": "Requests whose KV entries nobody fetched in time.",
}

GAUGES = (
    Family("num_requests_running", lambda _, t: [t.gauges.running]),
    Family("num_requests_waiting", lambda _, t: [t.gauges.waiting]),
    Family(
        "num_requests_waiting_by_reason",
        lambda _, t: [t.gauges.waiting - t.gauges.deferred, t.gauges.deferred],
        "reason",
        ("capacity", "deferred"),
    ),
    Family(
        "engine_sleep_state",
        lambda *_: [1, 0, 0],
        "sleep_state",
        ("awake", "weights_offloaded", "discard_all"),
    ),
    Family("kv_cache_usage_perc", lambda _, t: [t.gauges.usage]),
)

COUNTERS = (
    Family("prefix_cache_queries", lambda e, _: [e.prefix_queries]),
    Family("prefix_cache_hits", lambda e, _: [e.prefix_hits]),
)

UNCONNECTED = (
    Family("external_prefix_cache_queries", lambda *_: [0]),
    Family("external_prefix_cache_hits", lambda *_: [0]),
)
"""Of an engine without a connector, which has nobody to ask."""

CONNECTED = (
    Family("external_prefix_cache_queries", lambda e, _: [e.transfers.queries]),
    Family("external_prefix_cache_hits", lambda e, _: [e.transfers.hits]),
)

MORE_COUNTERS = (
    Family("mm_cache_queries", lambda *_: [0]),
    Family("mm_cache_hits", lambda *_: [0]),
    Family("num_preemptions", lambda e, _: [e.preemptions]),
    Family("prompt_tokens", lambda _, t: [t.totals.prompt_tokens]),
    Family(
        "prompt_tokens_by_source",
        # The last token of a fetched prompt, which is computed, counts as fetched in the real engine too.
        lambda _, t: [
            t.totals.prompt_tokens - t.totals.cached_tokens - t.totals.external_tokens,
            t.totals.cached_tokens,
            t.totals.external_tokens,
        ],
        "source",
        ("local_compute", "local_cache_hit", "external_kv_transfer"),
    ),
    Family("prompt_tokens_cached", lambda _, t: [t.totals.cached_tokens + t.totals.external_tokens]),
    Family(
        "prompt_tokens_cached_by_source",
        lambda _, t: [t.totals.cached_tokens, 0, t.totals.external_tokens, 0, 0],
        "source",
        ("device", "host", "p2p", "disk", "external_unspecified"),
    ),
    Family("generation_tokens", lambda _, t: [t.totals.generation_tokens]),
    Family(
        "request_success",
        lambda _, t: list(t.totals.finished.values()),
        "finished_reason",
        ("stop", "length", "abort", "error", "repetition"),
    ),
    Family(
        "admission_rejections",
        lambda *_: [0, 0],
        "reason",
        ("max_num_queued_reqs", "max_num_queued_tokens"),
        engines=False,
    ),
)

NIXL = (
    Family("nixl_num_failed_transfers", lambda _, t: [t.transfers.failed]),
    Family("nixl_num_failed_notifications", lambda *_: [0]),
    Family("nixl_num_kv_expired_reqs", lambda _, t: [t.transfers.expired]),
    Family("nixl_num_notifications_after_expiry", lambda *_: [0]),
)


def counters(*, connected: bool) -> tuple[Family, ...]:
    """In the order of the page."""
    if connected:
        return (*COUNTERS, *CONNECTED, *MORE_COUNTERS, *NIXL)
    return (*COUNTERS, *UNCONNECTED, *MORE_COUNTERS)
