"""The text of /metrics, with vLLM's names, types and labels, because that page is what pickers scrape.

Heads of lines are rendered once; a scrape joins them with numbers and reuses the text of quiet histograms.
Engines behind one port share a page: each family is there once, with series for each engine.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from bench.simulator.config import ReplicaConfig
from bench.simulator.engine import Engine
from bench.simulator.families import GAUGES, HELP, Family, counters
from bench.simulator.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

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


class Ranked(Protocol):
    """One engine with its numbers."""

    config: ReplicaConfig
    engine: Engine
    telemetry: Telemetry


class Page:
    """Renders the page of the engines behind one port."""

    def __init__(self, ranks: Sequence[Ranked]) -> None:
        self._ranks = ranks
        self._config = ranks[0].config
        self._started = ranks[0].telemetry.started
        self._parts: list[Callable[[], str]] = []
        for family in GAUGES:
            self._parts.append(self._samples(family, "gauge"))
        for family in counters(connected=self._config.transfer is not None):
            self._parts.append(self._samples(family, "counter"))
        for name in ranks[0].telemetry.histograms:
            self._add_histogram(name)
        self._parts.append(_constant(self._cache_config()))

    def render(self) -> str:
        """The page as of now."""
        text = "".join([part() for part in self._parts])
        return text + self._adapters() if self._config.lora else text

    def _samples(self, family: Family, kind: str) -> Callable[[], str]:
        """A part of the page: one line for each series of each engine."""
        ranks = self._ranks if family.engines else self._ranks[:1]
        series = [self._labels(rank, family, value) for rank in ranks for value in family.values]
        suffix = "_total" if kind == "counter" else ""
        head = _head(family.name, kind, suffix)
        starts = [f"vllm:{family.name}{suffix}{{{each}}} " for each in series]
        tail = self._created(family.name, series) if kind == "counter" else ""

        def render() -> str:
            values = [value for rank in ranks for value in family.read(rank.engine, rank.telemetry)]
            lines = [f"{start}{float(value)!r}\n" for start, value in zip(starts, values, strict=True)]
            return f"{head}{''.join(lines)}{tail}"

        return render

    def _labels(self, rank: Ranked, family: Family | None = None, value: str = "") -> str:
        """Label pairs of one series, sorted by name as Prometheus clients do."""
        labels = {"model_name": self._config.model}
        if family is None or family.engines:
            labels["engine"] = str(rank.config.rank)
        if family is not None and family.key:
            labels[family.key] = value
        return ",".join(f'{name}="{text}"' for name, text in sorted(labels.items()))

    def _add_histogram(self, name: str) -> None:
        self._parts.append(_constant(_head(name, "histogram")))
        self._parts += [rank.telemetry.histograms[name].render for rank in self._ranks]
        self._parts.append(_constant(self._created(name, [self._labels(rank) for rank in self._ranks])))

    def _created(self, name: str, series: list[str]) -> str:
        """The gauge that the Prometheus client adds to each counter and histogram; it never changes."""
        lines = "".join(f"vllm:{name}_created{{{each}}} {self._started!r}\n" for each in series)
        return _head(name, "gauge", "_created") + lines

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
        lines = ""
        for rank in self._ranks:
            own = labels | {"engine": rank.config.rank}
            pairs = ",".join(f'{key}="{value}"' for key, value in sorted(own.items()))
            lines += f"vllm:cache_config_info{{{pairs}}} 1.0\n"
        return _head("cache_config_info", "gauge") + lines

    def _adapters(self) -> str:
        """Without a label for the engine: sets that several have are told once."""
        most, latest = self._config.engine.max_loras, dict[tuple[str, str], float]()
        for rank in self._ranks:
            for names, at in rank.telemetry.adapters.items():
                latest[names] = max(at, latest.get(names, 0.0))
        lines = [
            f'vllm:lora_requests_info{{max_lora="{most}",running_lora_adapters="{running}",'
            f'waiting_lora_adapters="{waiting}"}} {at!r}\n'
            for (running, waiting), at in latest.items()
        ]
        return _head("lora_requests_info", "gauge") + "".join(lines)


def _head(name: str, kind: str, suffix: str = "") -> str:
    text = HELP.get(name, name.replace("_", " ").capitalize() + ".")
    return f"# HELP vllm:{name}{suffix} {text}\n# TYPE vllm:{name}{suffix} {kind}\n"


def _constant(text: str) -> Callable[[], str]:
    """A part of the page that never changes."""
    return lambda: text
