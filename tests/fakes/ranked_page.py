"""The page of an engine behind which several data-parallel ranks compute."""

from collections.abc import Sequence
from dataclasses import dataclass

from endpoint_picker.core.endpoints import Endpoint


@dataclass(frozen=True)
class Load:
    """What one rank has to do, and its cache in blocks."""

    waiting: int = 0
    running: int = 0
    kv: float = 0.0
    blocks: int = 100


def page(loads: Sequence[Load], start: int = 0) -> bytes:
    """One vLLM page with the loads of these ranks, the first of which has this global number."""
    families: dict[str, list[float]] = {
        "vllm:num_requests_running": [load.running for load in loads],
        "vllm:num_requests_waiting": [load.waiting for load in loads],
        "vllm:kv_cache_usage_perc": [load.kv for load in loads],
    }
    lines = ['http_requests_total{handler="/v1/completions",status="2xx"} 7']
    for family, values in families.items():
        lines.append(f"# TYPE {family} gauge")
        for rank, value in enumerate(values, start):
            lines.append(f'{family}{{engine="{rank}",model_name="tiny"}} {value!r}')
    for rank, load in enumerate(loads, start):
        labels = f'block_size="16",engine="{rank}",num_gpu_blocks="{load.blocks}"'
        lines.append(f"vllm:cache_config_info{{{labels}}} 1.0")
    lines.append(
        'vllm:lora_requests_info{max_lora="4",running_lora_adapters="a",waiting_lora_adapters=""} 1.8e9'
    )
    return "\n".join([*lines, ""]).encode()


def ranks_of(port: int, size: int, *, start: int = 0, split: bool = True) -> list[Endpoint]:
    """The endpoints `pod-rank-<n>` at 127.0.0.1: at this one port or, where it is not split, from it on."""
    return [
        Endpoint(
            f"pod-rank-{rank}",
            "127.0.0.1",
            port if split else port + rank,
            pod="pod",
            rank=rank,
            start_rank=start,
            split=split,
        )
        for rank in range(size)
    ]
