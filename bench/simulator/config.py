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
class TransferConfig:
    """How KV entries go from one engine to another."""

    host: str = "127.0.0.1"
    port: int = 5600
    """Where the first rank says what it keeps, each further rank one higher; 0 takes free ports."""
    lease_s: float = 30.0
    """Virtual seconds for which blocks are kept that nobody asks for."""
    bytes_per_token: int = 256 * 1024
    bandwidth: float = 25e9
    """Bytes per second, for each transfer: they do not slow each other down."""
    latency_s: float = 0.002
    """What a transfer takes however small it is."""
    recompute: bool = False
    """Whether a prompt whose entries do not come is computed; its request fails otherwise."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"kv_port is {self.port}; it must be from 0 to 65535")
        if self.bytes_per_token < 1:
            raise ValueError(f"kv_bytes_per_token is {self.bytes_per_token}; it must be 1 or more")
        if not 0.0 < self.bandwidth < math.inf:
            raise ValueError(f"kv_bandwidth is {self.bandwidth}; it must be more than 0 bytes a second")
        for name, value in (("lease_seconds", self.lease_s), ("transfer_latency", self.latency_s)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"kv_{name} is {value}; it must be 0 or more seconds")

    def seconds(self, tokens: int) -> float:
        """What it takes to fetch that many tokens."""
        return self.latency_s + tokens * self.bytes_per_token / self.bandwidth


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
    transfer: TransferConfig | None = None
    """None is an engine without a KV connector."""
    rank: int = 0
    """Data-parallel rank of the first engine behind this port, among all ranks."""
    ranks: int = 1
    """Engines behind this port, with consecutive ranks."""

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
        if self.rank < 0 or self.ranks < 1:
            raise ValueError(f"{self.ranks} ranks from {self.rank} on; send 1 or more, from 0 or more")

    @property
    def lora(self) -> bool:
        """Whether the replica serves adapters at all."""
        return self.enable_lora or bool(self.loras)
