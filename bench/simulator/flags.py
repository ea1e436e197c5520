"""The command's flags."""

import argparse

from bench.simulator.config import EngineConfig, ReplicaConfig, TransferConfig

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
