"""From the command's flags to one configuration for each port."""

import argparse
from dataclasses import fields, replace
from typing import Final

from bench.simulator.config import EngineConfig, ReplicaConfig, TransferConfig

HIGHEST_PORT: Final = 65535


def configs(args: argparse.Namespace) -> list[ReplicaConfig]:
    """One configuration for each port; ValueError says which flag makes no sense."""
    if args.replicas < 1:
        raise ValueError(f"replicas is {args.replicas}; it must be 1 or more")
    ranks = _local_ranks(args)
    internal = args.data_parallel_mode == "internal"
    base = _replica(args)
    first, engines, ports = args.data_parallel_start_rank, args.replicas * ranks, args.replicas
    if not internal:
        ports = engines
    _check_ports("port", args.port, ports)
    if base.transfer:
        _check_ports("kv_port", base.transfer.port, engines)
    found = []
    for index in range(0, engines, engines // ports):
        transfer = base.transfer
        if transfer and transfer.port:
            transfer = replace(transfer, port=transfer.port + index)
        found.append(
            replace(
                base,
                engine=replace(base.engine, seed=args.seed + index),
                transfer=transfer,
                rank=first if internal else first + index % ranks,
                ranks=ranks if internal else 1,
            )
        )
    return found


def _local_ranks(args: argparse.Namespace) -> int:
    """Engines of one replica that run here."""
    size, first = args.data_parallel_size, args.data_parallel_start_rank
    local: int = args.data_parallel_size_local if args.data_parallel_size_local is not None else size - first
    if first < 0 or local < 1 or first + local > size:
        raise ValueError(
            f"data_parallel_size is {size}, and {local} ranks from {first} on are to run here; "
            "those must be 1 or more, and within the size"
        )
    return local


def _check_ports(name: str, first: int, count: int) -> None:
    if first and not 1 <= first <= HIGHEST_PORT + 1 - count:
        raise ValueError(
            f"{name} is {first}; it and the {count - 1} after it must be from 1 to {HIGHEST_PORT}"
        )


def _replica(args: argparse.Namespace) -> ReplicaConfig:
    """What all have in common."""
    named = {field.name for field in fields(EngineConfig)} - {"max_loras"}
    lora = bool(args.lora) or args.enable_lora
    engine = EngineConfig(
        **{name: getattr(args, name) for name in named}, max_loras=args.max_loras if lora else 0
    )
    return ReplicaConfig(
        engine=engine,
        model=args.model,
        loras=tuple(args.lora),
        enable_lora=args.enable_lora,
        max_model_len=args.max_model_len,
        mean_output_tokens=args.mean_output_tokens,
        seed=args.seed,
        speed=args.speed,
        transfer=_transfer(args) if args.kv_connector else None,
    )


def _transfer(args: argparse.Namespace) -> TransferConfig:
    port = args.kv_port
    if port is None:
        port = TransferConfig().port if args.port else 0
    return TransferConfig(
        host=args.kv_host,
        port=port,
        lease_s=args.kv_lease_seconds,
        bytes_per_token=args.kv_bytes_per_token,
        bandwidth=args.kv_bandwidth,
        latency_s=args.kv_transfer_latency,
        recompute=args.kv_load_failure_policy == "recompute",
    )
