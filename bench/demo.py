"""The main job on one machine: the same chat traffic with round robin, then with the picker.

`python -m bench.demo` starts simulated replicas, a real Envoy and the picker, prints both outcomes side by
side and writes `.demo/summary.json`. `--serve` leaves the picker's side up afterwards.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import envoys
from bench.picker import Picker
from bench.processes import ENDING, ROOT, Failed, Process, end_on_signals, page
from bench.replay import Replay
from bench.traffic import Session, Shape, sessions

FOLDER: Final = ROOT / ".demo"
REPLICAS: Final = 4
MODEL: Final = "demo-model"
SEED: Final = 7
SIMULATOR: Final = ("--block-size", "16", "--num-blocks", "9000")
"""A KV cache of 144,000 tokens a replica: it cannot hold every chat, so it matters who goes where."""

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


@dataclass(frozen=True, slots=True)
class Stack:
    """What one phase runs on."""

    url: str
    replicas: tuple[str, ...]
    """Addresses (`ip:port`) of the replicas."""
    metrics: str | None
    """The picker's metrics page; None where there is no picker."""


@contextlib.asynccontextmanager
async def stack(*, picker: bool) -> AsyncIterator[Stack]:
    """Fresh replicas behind Envoy, with the picker or with round robin; all ended with the phase."""
    folder = FOLDER / ("picker" if picker else "round-robin")
    folder.mkdir()
    with contextlib.ExitStack() as programs:
        command = (sys.executable, "-m", "bench.simulator", "--replicas", str(REPLICAS), "--port", "0")
        options = ("--model", MODEL, "--seed", str(SEED), *SIMULATOR)
        fleet = Process((*command, *options), folder / "replicas.log")
        programs.callback(fleet.stop)
        replicas = [line.split()[1] for line in await fleet.says("listening ", REPLICAS)]
        config, metrics = envoys.round_robin(replicas), None
        if picker:
            chooser = Picker(
                FOLDER, replicas, "--secure-serving=false", "--drain-timeout=0", f"--seed={SEED}"
            )
            programs.callback(chooser.stop)
            await chooser.start()
            config = envoys.relocated(envoys.load("standalone"), chooser.grpc_port, replicas)
            metrics = f"http://127.0.0.1:{chooser.metrics_port}/metrics"
        envoy = envoys.Envoy(folder, config)
        programs.callback(envoy.process.stop)
        await envoy.start()
        yield Stack(f"http://127.0.0.1:{envoy.port}", tuple(replicas), metrics)


async def phase(
    name: str, chats: Sequence[Session], shape: Shape, console: Console, ground: Stack
) -> dict[str, Any]:
    """Replay the chats; answers the figures."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=shape.sessions * shape.turns)
        replay = Replay(ground.url, MODEL, shape.answer_tokens, lambda: progress.advance(task))
        outcome = await replay.run(chats)
    for complaint, times in outcome.complaints.items():
        console.print(f"  {times} times {complaint}", style="red")
    return outcome.summary() | {"requests_per_replica": [await _served(each) for each in ground.replicas]}


async def _served(replica: str) -> int:
    """Requests that a replica has finished, by its own count."""
    lines = (await page(f"http://{replica}/metrics")).splitlines()
    counts = [line.rpartition(" ")[2] for line in lines if line.startswith("vllm:request_success_total")]
    return round(sum(map(float, counts)))


def table(summary: dict[str, dict[str, Any]]) -> Table:
    """Both outcomes side by side."""
    view = Table(title=f"{REPLICAS} simulated replicas, the same chats")
    view.add_column("")
    for name in ("round robin", "picker"):
        view.add_column(name, justify="right")
    for title, key, unit in ROWS:
        view.add_row(title, *(_shown(summary[side][key], unit) for side in ("round_robin", "picker")))
    return view


def _shown(value: Any, unit: str) -> str:
    match unit:
        case "%":
            return f"{100 * value:.1f} %"
        case "ms":
            return f"{value:,.0f} ms"
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)


async def demo(*, serve: bool) -> int:
    """Both phases, the table, the summary; answers the exit code."""
    end_on_signals()
    console = Console()
    shape = Shape()
    chats = list(sessions(shape, SEED))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    async with stack(picker=False) as ground:
        summary = {"round_robin": await phase("round robin", chats, shape, console, ground)}
    async with stack(picker=True) as ground:
        summary["picker"] = await phase("picker", chats, shape, console, ground)
        console.print(table(summary))
        (FOLDER / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        console.print(f"written to {(FOLDER / 'summary.json').relative_to(ROOT)}; logs beside it")
        if serve:
            await _until_interrupted(console, ground)
    return 1 if summary["picker"]["errors"] else 0


async def _until_interrupted(console: Console, ground: Stack) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16})
    console.print("\nEverything is up. Try:\n", style="bold")
    command = f"curl -i {ground.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
    print(f"  {command}\n  curl {ground.metrics}\n\nCtrl-C stops it.", flush=True)
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
