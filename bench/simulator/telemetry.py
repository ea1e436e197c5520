"""What a replica tells about itself: the counters and histograms of vLLM, fed with what each step did.

Gauges hold the state after the last completed step, as the real engine publishes it: a scrape in the middle
of a long prefill does not see the request that causes it, nor does one after its end see those that came
during it.
"""

import time
from dataclasses import dataclass, field

from bench.simulator import histogram
from bench.simulator.config import ReplicaConfig
from bench.simulator.engine import Engine, StepOutcome
from bench.simulator.histogram import Histogram
from bench.simulator.sequence import Sequence

_KEPT_ADAPTER_SETS = 64
"""The real gauge never forgets a combination of adapters; a bound keeps long runs flat."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """One engine's load at the end of a step."""

    running: int = 0
    waiting: int = 0
    usage: float = 0.0
    deferred: int = 0
    """Those of the waiting ones that await KV entries."""


@dataclass(slots=True)
class Totals:
    """Counters since the start, in tokens or requests."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    external_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("stop", "length", "abort", "error", "repetition"), 0)
    )


@dataclass(slots=True)
class TransferCounts:
    """Of requests, since the start."""

    failed: int = 0
    expired: int = 0
    """Kept here and fetched by nobody in time."""


class Telemetry:
    """Numbers of one engine; `exposition` turns them into a page."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.started = time.time()
        self.gauges = Gauges()
        self.totals = Totals()
        self.transfers = TransferCounts()
        self.adapters: dict[tuple[str, str], float] = {}
        """(running adapters, waiting adapters) as comma lists → unix time when that was last so."""
        labels = (f'engine="{config.rank}"', f'model_name="{config.model}"')
        tokens = histogram.tokens_up_to(config.max_model_len)
        bounds: dict[str, tuple[float, ...]] = {
            "request_prompt_tokens": tokens,
            "request_generation_tokens": tokens,
            "iteration_tokens_total": histogram.ITERATION,
            "request_max_num_generation_tokens": tokens,
            "request_params_n": histogram.CHOICES,
            "request_params_max_tokens": tokens,
            "time_to_first_token_seconds": histogram.FIRST_TOKEN,
            "inter_token_latency_seconds": histogram.INTER_TOKEN,
            "request_time_per_output_token_seconds": histogram.INTER_TOKEN,
            "e2e_request_latency_seconds": histogram.REQUEST,
            "request_queue_time_seconds": histogram.REQUEST,
            "request_inference_time_seconds": histogram.REQUEST,
            "request_prefill_time_seconds": histogram.REQUEST,
            "request_decode_time_seconds": histogram.REQUEST,
            "request_num_preemptions": histogram.PREEMPTIONS,
            "request_prefill_kv_computed_tokens": tokens,
        }
        if config.transfer:
            bounds |= histogram.TRANSFER
        self.histograms = {name: Histogram(f"vllm:{name}", labels, b) for name, b in bounds.items()}
        self._lora = config.lora

    def publish(self, engine: Engine, *, unseen: int = 0) -> None:
        """Set the gauges to the engine's present state, less the waiting requests that it has not seen."""
        deferred = len(engine.transfers.fetching)
        self.gauges = Gauges(engine.running, engine.waiting - unseen, engine.cache.usage, deferred)
        if self._lora:
            running, waiting = map(",".join, engine.adapters())
            self.adapters.pop((running, waiting), None)
            self.adapters[running, waiting] = time.time()
            if len(self.adapters) > _KEPT_ADAPTER_SETS:
                del self.adapters[next(iter(self.adapters))]

    def count_step(self, outcome: StepOutcome, start: float, end: float) -> None:
        """One step that ran from `start` to `end`, in virtual seconds."""
        emitted = len(outcome.started) + len(outcome.decoded)
        if not outcome.prompt_tokens and not emitted:
            return
        self.totals.generation_tokens += emitted
        self.histograms["iteration_tokens_total"].observe(outcome.prompt_tokens + emitted)
        if outcome.decoded:
            self.histograms["inter_token_latency_seconds"].observe(end - start, len(outcome.decoded))
        for sequence in outcome.started:
            self._count_prompt(sequence, end)

    def _count_prompt(self, sequence: Sequence, end: float) -> None:
        """A prompt is through: the first time, or again after a preemption."""
        if sequence.first_token < end:
            self.histograms["inter_token_latency_seconds"].observe(end - sequence.paused)
            return
        self.totals.prompt_tokens += sequence.prompt_tokens
        self.totals.cached_tokens += sequence.cached
        self.totals.external_tokens += sequence.external
        self.histograms["time_to_first_token_seconds"].observe(max(0.0, end - sequence.arrived))

    def count_finished(
        self, sequence: Sequence, end: float, *, reason: str, choices: int, limit: int
    ) -> None:
        """A sequence got its last token at `end`; `choices` and `limit` are n and max_tokens."""
        self.totals.finished[reason] += 1
        decode = end - sequence.first_token
        values = {
            "request_prompt_tokens": sequence.prompt_tokens,
            "request_generation_tokens": sequence.output_tokens,
            "request_max_num_generation_tokens": sequence.output_tokens,
            "request_params_n": choices,
            "request_params_max_tokens": limit,
            "request_time_per_output_token_seconds": decode / max(1, sequence.output_tokens - 1),
            "e2e_request_latency_seconds": end - sequence.arrived,
            "request_queue_time_seconds": max(0.0, sequence.scheduled - sequence.arrived),
            "request_inference_time_seconds": end - sequence.scheduled,
            "request_prefill_time_seconds": sequence.first_token - sequence.scheduled,
            "request_decode_time_seconds": decode,
            "request_num_preemptions": sequence.preemptions,
            "request_prefill_kv_computed_tokens": _computed(sequence),
        }
        for name, value in values.items():
            self.histograms[name].observe(value)

    def count_aborted(self) -> None:
        """A client went away."""
        self.totals.finished["abort"] += 1

    def count_failed(self) -> None:
        """A request ended with an error."""
        self.totals.finished["error"] += 1

    def count_transfer(self, seconds: float, latency: float, size: int, blocks: int) -> None:
        """A prompt was fetched: the seconds in all and those before the first byte, bytes, blocks."""
        self.histograms["nixl_xfer_time_seconds"].observe(seconds)
        self.histograms["nixl_post_time_seconds"].observe(latency)
        self.histograms["nixl_bytes_transferred"].observe(size)
        # The real engine has one for each layer of a block; a simulated model has no layers.
        self.histograms["nixl_num_descriptors"].observe(blocks)


def _computed(sequence: Sequence) -> int:
    """Prompt tokens that were computed; of a fetched prompt, the last one."""
    return max(1, sequence.prompt_tokens - sequence.cached - sequence.external)
