"""The text of /metrics, with vLLM's names, types and labels, because that page is what pickers scrape.

Heads of lines are rendered once; a scrape joins them with numbers and reuses the text of quiet histograms.
"""

from collections.abc import Callable, Sequence

from bench.simulator.config import ReplicaConfig
from bench.simulator.engine import Engine
from bench.simulator.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

_HELP = {
    "num_requests_running": "Requests in the batch.",
    "num_requests_waiting": "Requests in the queue.",
    "num_requests_waiting_by_reason": "Requests in the queue, by what they wait for.",
    "engine_sleep_state": "1 for the state in which the engine is.",
    "kv_cache_usage_perc": "Taken share of the KV cache, 0 to 1.",
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "prompt_tokens": "Prompt tokens of requests that got their first token.",
    "generation_tokens": "Tokens generated.",
    "request_success": "Requests ended, by reason.",
    "cache_config_info": "Configuration of the cache as labels.",
    "lora_requests_info": "Adapters in use; the value is the unix time when that was so.",
}

_CACHE_CONFIG: dict[str, object] = {
    **dict.fromkeys(
        (
            "cache_hit_alignment_tokens",
            "hash_block_size",
            "kv_cache_layout",
            "kv_cache_memory_bytes",
            "kv_offloading_size",
            "mamba_block_size",
            "mamba_page_size_padded",
            "num_cpu_blocks",
            "num_gpu_blocks_override",
            "prefix_match_unit",
            "skip_page_size_padded",
            "sliding_window",
        ),
        None,
    ),
    **dict.fromkeys(
        (
            "enable_mamba_shared_prefix_checkpoint",
            "is_attention_free",
            "kv_sharing_fast_prefill",
            "use_kda_recoverssm",
            "use_replayssm",
            "user_specified_block_size",
        ),
        False,
    ),
    **dict.fromkeys(("_block_size_resolved", "enable_prefix_caching", "swa_bounded_replay"), True),
    "cache_dtype": "auto",
    "mamba_cache_dtype": "auto",
    "engine": "0",
    "prefix_cache_retention_interval": "0",
    "gpu_memory_utilization": "0.92",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_offloading_backend": "native",
    "mamba_cache_mode": "none",
    "mamba_ssm_cache_dtype": "float32",
    "prefix_caching_hash_algo": "sha256",
    "replayssm_buffer_len": "16",
}
"""What the real server shows beside the sizes; nothing here depends on these."""


class Page:
    """Renders one replica's page."""

    def __init__(self, config: ReplicaConfig, engine: Engine, telemetry: Telemetry) -> None:
        self._config, self._engine, self._telemetry = config, engine, telemetry
        model = f'model_name="{config.model}"'
        self._base = f'engine="0",{model}'
        self._parts: list[Callable[[], str]] = []
        self._add_gauges()
        self._add_counters(model)
        for name, each in telemetry.histograms.items():
            self._parts += (_constant(self._head(name, "histogram")), each.render)
            self._parts.append(_constant(self._created(name, [self._base])))
        self._parts.append(_constant(self._cache_config()))

    def render(self) -> str:
        """The page as of now."""
        text = "".join([part() for part in self._parts])
        return text + self._adapters() if self._config.lora else text

    def _add_gauges(self) -> None:
        base, telemetry = self._base, self._telemetry
        reasons = [f'{base},reason="{reason}"' for reason in ("capacity", "deferred")]
        states = [f'{base},sleep_state="{state}"' for state in ("awake", "weights_offloaded", "discard_all")]
        self._add_gauge("num_requests_running", [base], lambda: [telemetry.gauges.running])
        self._add_gauge("num_requests_waiting", [base], lambda: [telemetry.gauges.waiting])
        self._add_gauge("num_requests_waiting_by_reason", reasons, lambda: [telemetry.gauges.waiting, 0])
        self._add_gauge("engine_sleep_state", states, lambda: [1, 0, 0])
        self._add_gauge("kv_cache_usage_perc", [base], lambda: [telemetry.gauges.usage])

    def _add_counters(self, model: str) -> None:
        base, engine, totals = self._base, self._engine, self._telemetry.totals
        tokens = [
            f'{base},source="{s}"' for s in ("local_compute", "local_cache_hit", "external_kv_transfer")
        ]
        cached = [f'{base},source="{s}"' for s in ("device", "host", "p2p", "disk", "external_unspecified")]
        ended = [f'engine="0",finished_reason="{reason}",{model}' for reason in totals.finished]
        refused = [
            f'{model},reason="{reason}"' for reason in ("max_num_queued_reqs", "max_num_queued_tokens")
        ]
        self._add_counter("prefix_cache_queries", [base], lambda: [engine.prefix_queries])
        self._add_counter("prefix_cache_hits", [base], lambda: [engine.prefix_hits])
        for name in (
            "external_prefix_cache_queries",
            "external_prefix_cache_hits",
            "mm_cache_queries",
            "mm_cache_hits",
        ):
            self._add_counter(name, [base], lambda: [0])
        self._add_counter("num_preemptions", [base], lambda: [engine.preemptions])
        self._add_counter("prompt_tokens", [base], lambda: [totals.prompt_tokens])
        self._add_counter(
            "prompt_tokens_by_source",
            tokens,
            lambda: [totals.prompt_tokens - totals.cached_tokens, totals.cached_tokens, 0],
        )
        self._add_counter("prompt_tokens_cached", [base], lambda: [totals.cached_tokens])
        self._add_counter(
            "prompt_tokens_cached_by_source", cached, lambda: [totals.cached_tokens, 0, 0, 0, 0]
        )
        self._add_counter("generation_tokens", [base], lambda: [totals.generation_tokens])
        self._add_counter("request_success", ended, lambda: list(totals.finished.values()))
        self._add_counter("admission_rejections", refused, lambda: [0, 0])

    def _add_gauge(self, name: str, labels: list[str], read: Callable[[], Sequence[float]]) -> None:
        self._parts.append(_samples(self._head(name, "gauge"), f"vllm:{name}", labels, read, ""))

    def _add_counter(self, name: str, labels: list[str], read: Callable[[], Sequence[float]]) -> None:
        head, created = self._head(name, "counter", "_total"), self._created(name, labels)
        self._parts.append(_samples(head, f"vllm:{name}_total", labels, read, created))

    def _head(self, name: str, kind: str, suffix: str = "") -> str:
        text = _HELP.get(name, name.replace("_", " ").capitalize() + ".")
        return f"# HELP vllm:{name}{suffix} {text}\n# TYPE vllm:{name}{suffix} {kind}\n"

    def _created(self, name: str, labels: list[str]) -> str:
        """The gauge that the Prometheus client adds to each counter and histogram; it never changes."""
        lines = "".join(f"vllm:{name}_created{{{each}}} {self._telemetry.started!r}\n" for each in labels)
        return self._head(name, "gauge", "_created") + lines

    def _cache_config(self) -> str:
        config = self._config.engine
        capacity = config.num_blocks * config.block_size
        labels = _CACHE_CONFIG | {
            "block_size": config.block_size,
            "effective_attention_block_size": config.block_size,
            "kv_cache_max_concurrency": round(capacity / self._config.max_model_len, 2),
            "kv_cache_size_tokens": capacity,
            "num_gpu_blocks": config.num_blocks,
        }
        pairs = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        return f"{self._head('cache_config_info', 'gauge')}vllm:cache_config_info{{{pairs}}} 1.0\n"

    def _adapters(self) -> str:
        most = self._config.engine.max_loras
        lines = [
            f'vllm:lora_requests_info{{max_lora="{most}",running_lora_adapters="{running}",'
            f'waiting_lora_adapters="{waiting}"}} {at!r}\n'
            for (running, waiting), at in self._telemetry.adapters.items()
        ]
        return self._head("lora_requests_info", "gauge") + "".join(lines)


def _constant(text: str) -> Callable[[], str]:
    """A part of the page that never changes."""
    return lambda: text


def _samples(
    head: str, name: str, labels: list[str], read: Callable[[], Sequence[float]], tail: str
) -> Callable[[], str]:
    """A part of the page: one line for each label set, with the numbers that `read` gives in that order."""
    heads = [f"{name}{{{each}}} " for each in labels]

    def render() -> str:
        lines = [f"{start}{float(value)!r}\n" for start, value in zip(heads, read(), strict=True)]
        return f"{head}{''.join(lines)}{tail}"

    return render
