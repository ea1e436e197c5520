"""`python -m bench.simulator`: one or more simulated replicas in one process, each on a port of its own."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

import uvloop

from bench.simulator.config import EngineConfig, ReplicaConfig
from bench.simulator.running import running

HIGHEST_PORT: Final = 65535

_ENGINE = EngineConfig()
_REPLICA = ReplicaConfig()


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


def configs(args: argparse.Namespace) -> list[ReplicaConfig]:
    """One configuration for each replica; ValueError says which flag makes no sense."""
    if args.replicas < 1:
        raise ValueError(f"replicas is {args.replicas}; it must be 1 or more")
    if args.port and not 1 <= args.port <= HIGHEST_PORT + 1 - args.replicas:
        raise ValueError(f"port is {args.port}; a port of each replica must be from 1 to {HIGHEST_PORT}")
    named = {field.name for field in fields(EngineConfig)} - {"max_loras"}
    lora = bool(args.lora) or args.enable_lora
    engine = EngineConfig(
        **{name: getattr(args, name) for name in named}, max_loras=args.max_loras if lora else 0
    )
    replica = ReplicaConfig(
        engine=engine,
        model=args.model,
        loras=tuple(args.lora),
        enable_lora=args.enable_lora,
        max_model_len=args.max_model_len,
        mean_output_tokens=args.mean_output_tokens,
        seed=args.seed,
        speed=args.speed,
    )
    return [replace(replica, engine=replace(engine, seed=args.seed + i)) for i in range(args.replicas)]


async def serve(args: argparse.Namespace, replicas: Sequence[ReplicaConfig]) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(replicas, host=args.host, port=args.port) as ports:
        for index, port in enumerate(ports):
            print(f"listening {args.host}:{port} replica={index} model={args.model}", flush=True)
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
        print(f"cannot listen on {args.host}:{args.port}: {error}; choose --host and --port", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
