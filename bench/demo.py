"""The main job on one machine: the same chat traffic with round robin, then with the picker.

`python -m bench.demo` starts simulated replicas, a real Envoy and the picker, prints both outcomes side by
side and writes `.demo/summary.json`. `--serve` leaves the picker's side up afterwards.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Final

from rich.console import Console

from bench import envoys, ground, sides
from bench.ground import MODEL, SEED, Stack, folder_of, phase
from bench.processes import ENDING, ROOT, Failed, end_on_signals
from bench.traffic import Shape, sessions

FOLDER: Final = ROOT / ".demo"
REPLICAS: Final = 4
SIMULATOR: Final = ("--block-size", "16", "--num-blocks", "9000")
"""A KV cache of 144,000 tokens a replica: it cannot hold every chat, so it matters who goes where."""

SIDES: Final = {"round_robin": "round robin", "picker": "picker"}
ROWS: Final = (
    ("requests", "requests", ""),
    ("errors", "errors", ""),
    ("time to first token p50", "ttft_p50_ms", "ms"),
    ("time to first token p90", "ttft_p90_ms", "ms"),
    ("time to first token p99", "ttft_p99_ms", "ms"),
    ("inter-token latency p50", "itl_p50_ms", "ms"),
    ("inter-token latency p99", "itl_p99_ms", "ms"),
    ("prefix-hit rate", "prefix_hit_rate", "%"),
    ("requests per replica", "requests_per_replica", ""),
)


@contextlib.asynccontextmanager
async def stack(*, picker: bool) -> AsyncIterator[Stack]:
    """Fresh replicas behind Envoy, with the picker or with round robin; all ended with the phase."""
    async with folder_of(FOLDER, "picker" if picker else "round-robin") as programs:
        replicas = await programs.replicas(REPLICAS, *SIMULATOR)
        if picker:
            yield await ground.behind(programs, await programs.picker(replicas), replicas, replicas)
        else:
            yield Stack(await programs.envoy(envoys.round_robin(replicas)), tuple(replicas), None)


async def demo(*, serve: bool) -> int:
    """Both phases, the table, the summary; answers the exit code."""
    end_on_signals()
    console = Console()
    shape = Shape()
    chats = list(sessions(shape, SEED))
    async with stack(picker=False) as stage:
        summary = {"round_robin": await phase("round robin", chats, shape, console, stage)}
    async with stack(picker=True) as stage:
        summary["picker"] = await phase("picker", chats, shape, console, stage)
        console.print(sides.table(f"{REPLICAS} simulated replicas, the same chats", ROWS, SIDES, summary))
        (FOLDER / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        console.print(f"written to {(FOLDER / 'summary.json').relative_to(ROOT)}; logs beside it")
        if serve:
            await _until_interrupted(console, stage)
    return 1 if summary["picker"]["errors"] else 0


async def _until_interrupted(console: Console, stage: Stack) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16})
    console.print("\nEverything is up. Try:\n", style="bold")
    command = f"curl -i {stage.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
    print(f"  {command}\n  curl {stage.metrics}\n\nCtrl-C stops it.", flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in ENDING:
        loop.add_signal_handler(each, stop.set)
    await stop.wait()
    console.print("stopping")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="leave the picker's side up until Ctrl-C")
    flags = parser.parse_args()
    try:
        return asyncio.run(demo(serve=flags.serve))
    except Failed as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
