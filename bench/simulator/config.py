"""What one simulated replica is: the engine's sizes and speed, and what its server pretends to serve."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes and speed; the defaults stand for Qwen3-32B on two H100."""

    block_size: int = 16
    num_blocks: int = 17_500
    """280k tokens at 256 KiB each."""
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_loras: int = 0
    """Adapters that may run at the same time; 0 is no limit."""
    fixed_s: float = 0.014
    """Reading the weights once."""
    prefill_token_s: float = 50e-6
    """With the fixed part: 17,600 tokens/s in steps of 2,048 and 19,300 in steps of 8,192."""
    decode_sequence_s: float = 20e-6
    cached_token_s: float = 56e-9
    """Reading one token's KV entries."""
    jitter: float = 0.0
    """Each step's time is multiplied by a random factor in 1 ± jitter."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("block_size", "num_blocks", "max_num_seqs", "max_num_batched_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) is less than max_num_seqs "
                f"({self.max_num_seqs}); each running sequence needs a token in each step"
            )
        for name in ("fixed_s", "prefill_token_s", "decode_sequence_s", "cached_token_s"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more seconds")
        if not 0.0 <= self.jitter < 1.0:
            raise ValueError(f"jitter is {self.jitter}; it must be at least 0 and less than 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """One replica as its clients see it."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    model: str = "Qwen/Qwen3-32B"
    loras: tuple[str, ...] = ()
    enable_lora: bool = False
    """Also without adapters at the start, since they can be loaded later."""
    max_model_len: int = 40_960
    mean_output_tokens: int = 256
    """Where a request sets no limit: lengths are exponentially distributed around it."""
    seed: int = 0
    """Of the generated text; the engine's own seed moves only its jitter."""
    speed: float = 1.0
    """Virtual seconds for each second of the wall clock."""

    def __post_init__(self) -> None:
        capacity = self.engine.num_blocks * self.engine.block_size
        if not 2 <= self.max_model_len <= capacity:
            raise ValueError(
                f"max_model_len is {self.max_model_len}; it must be from 2 to the {capacity} tokens "
                "that the cache holds (num_blocks * block_size)"
            )
        if not 0.0 < self.speed < math.inf:
            raise ValueError(f"speed is {self.speed}; it must be more than 0")
        if self.mean_output_tokens < 1:
            raise ValueError(f"mean_output_tokens is {self.mean_output_tokens}; it must be 1 or more")

    @property
    def lora(self) -> bool:
        """Whether the replica serves adapters at all."""
        return self.enable_lora or bool(self.loras)
