"""`python -m bench.simulator`: one or more simulated replicas in one process, each on ports of its own."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

import uvloop

from bench.simulator.config import EngineConfig, ReplicaConfig, TransferConfig
from bench.simulator.running import running

HIGHEST_PORT: Final = 65535

_ENGINE = EngineConfig()
_REPLICA = ReplicaConfig()
_TRANSFER = TransferConfig()


def parser() -> argparse.ArgumentParser:
    """All flags; names that vLLM has are vLLM's."""
    flags = argparse.ArgumentParser(
        prog="python -m bench.simulator",
        description="Simulated vLLM replicas; prints 'listening HOST:PORT replica=N model=NAME' for each.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _server_flags(flags.add_argument_group("server"))
    _model_flags(flags.add_argument_group("model"))
    _engine_flags(flags.add_argument_group("engine"))
    _timing_flags(flags.add_argument_group("timing, for one step of the engine"))
    _rank_flags(flags.add_argument_group("data parallel"))
    _transfer_flags(flags.add_argument_group("prefill and decode on different replicas"))
    return flags


def _server_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on")
    group.add_argument("--port", type=int, default=8000, help="port of the first replica; 0 takes free ports")
    group.add_argument(
        "--replicas", type=int, default=1, help="replicas in this process, on consecutive ports"
    )


def _model_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", default=_REPLICA.model, help="name of the base model")
    group.add_argument(
        "--max-model-len", type=int, default=_REPLICA.max_model_len, help="context length in tokens"
    )
    group.add_argument(
        "--lora", action="append", default=[], metavar="NAME", help="a LoRA adapter; may be repeated"
    )
    group.add_argument(
        "--enable-lora", action="store_true", help="take adapters at run time also without --lora"
    )
    group.add_argument("--max-loras", type=int, default=1, help="adapters that run at the same time")
    group.add_argument(
        "--mean-output-tokens",
        type=int,
        default=_REPLICA.mean_output_tokens,
        help="mean length of answers to requests without a limit",
    )


def _engine_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--block-size", type=int, default=_ENGINE.block_size, help="tokens in a KV block")
    group.add_argument("--num-blocks", type=int, default=_ENGINE.num_blocks, help="KV blocks of a replica")
    group.add_argument("--max-num-seqs", type=int, default=_ENGINE.max_num_seqs, help="sequences in a batch")
    group.add_argument(
        "--max-num-batched-tokens",
        type=int,
        default=_ENGINE.max_num_batched_tokens,
        help="token budget of a step",
    )


def _timing_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--speed", type=float, default=_REPLICA.speed, help="virtual seconds per second of the wall clock")
    add("--fixed-s", type=float, default=_ENGINE.fixed_s, help="seconds that any step takes")
    add("--prefill-token-s", type=float, default=_ENGINE.prefill_token_s, help="seconds per prompt token")
    add(
        "--decode-sequence-s",
        type=float,
        default=_ENGINE.decode_sequence_s,
        help="seconds per decoding sequence",
    )
    add("--cached-token-s", type=float, default=_ENGINE.cached_token_s, help="seconds per cached token read")
    add("--jitter", type=float, default=_ENGINE.jitter, help="random share, 0 to 1, of a step's time")
    add("--seed", type=int, default=0, help="seed of generated texts and of the jitter")


def _rank_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data-parallel-size", type=int, default=1, help="engines of a replica, on all nodes")
    group.add_argument(
        "--data-parallel-size-local",
        type=int,
        help="those of them that run here; by default all that are left",
    )
    group.add_argument(
        "--data-parallel-start-rank", type=int, default=0, help="the first rank that runs here"
    )
    group.add_argument(
        "--data-parallel-mode",
        choices=("external", "internal"),
        default="external",
        help="external: a port for each rank; internal: one port, behind which the ranks are balanced",
    )


def _transfer_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--role", choices=("prefill", "decode", "both"), default="both", help="only said where it listens")
    add(
        "--kv-connector",
        choices=("nixl",),
        help="exchange KV entries; without it kv_transfer_params are ignored",
    )
    add("--kv-host", default=_TRANSFER.host, help="address to exchange on, as told to others")
    add(
        "--kv-port",
        type=int,
        help=f"port of the first engine's exchange, the others on consecutive ones; 0 takes free ports; by "
        f"default {_TRANSFER.port}, and with --port 0 free ones",
    )
    add(
        "--kv-lease-seconds",
        type=float,
        default=_TRANSFER.lease_s,
        help="virtual seconds for which a prefill replica keeps blocks that nobody fetches",
    )
    add("--kv-bytes-per-token", type=int, default=_TRANSFER.bytes_per_token, help="size of a token's entries")
    add("--kv-bandwidth", type=float, default=_TRANSFER.bandwidth, help="bytes per second of each transfer")
    add(
        "--kv-transfer-latency",
        type=float,
        default=_TRANSFER.latency_s,
        help="seconds that any transfer takes",
    )
    add(
        "--kv-load-failure-policy",
        choices=("fail", "recompute"),
        default="fail",
        help="what becomes of a request whose entries cannot be fetched",
    )


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
        port = _TRANSFER.port if args.port else 0
    return TransferConfig(
        host=args.kv_host,
        port=port,
        lease_s=args.kv_lease_seconds,
        bytes_per_token=args.kv_bytes_per_token,
        bandwidth=args.kv_bandwidth,
        latency_s=args.kv_transfer_latency,
        recompute=args.kv_load_failure_policy == "recompute",
    )


def listing(args: argparse.Namespace, replicas: Sequence[ReplicaConfig], ports: Sequence[int]) -> list[str]:
    """One line for each port."""
    lines = []
    for index, (config, port) in enumerate(zip(replicas, ports, strict=True)):
        number = index * args.replicas // len(ports)
        line = f"listening {args.host}:{port} replica={number} model={args.model}"
        if args.data_parallel_size > 1:
            last = config.rank + config.ranks - 1
            line += f" rank={config.rank}" if config.ranks == 1 else f" ranks={config.rank}-{last}"
        if args.role != "both":
            line += f" role={args.role}"
        lines.append(line)
    return lines


async def serve(args: argparse.Namespace, replicas: Sequence[ReplicaConfig]) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(replicas, host=args.host, port=args.port) as ports:
        print("\n".join(listing(args, replicas, ports)), flush=True)
        await stop.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    flags = parser()
    args = flags.parse_args(argv)
    try:
        replicas = configs(args)
    except ValueError as error:
        flags.error(str(error))
    try:
        uvloop.run(serve(args, replicas))
    except OSError as error:
        print(
            f"cannot listen on {args.host}:{args.port}: {error}; choose --host and --port"
            + (", --kv-host and --kv-port" if args.kv_connector else ""),
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
