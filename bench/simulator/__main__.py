"""`python -m bench.simulator`: one or more simulated replicas in one process, each on ports of its own."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import uvloop

from bench.simulator.config import ReplicaConfig
from bench.simulator.flags import parser
from bench.simulator.fleet import configs
from bench.simulator.running import running


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
