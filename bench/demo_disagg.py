"""Prefill and decode on different replicas: the same long prompts on four mixed replicas, then on two that
compute prompts and two that decode, with a sidecar beside each of those, and without any (inline).

`python -m bench.demo_disagg` prints the outcomes side by side and writes `.demo/disagg.json`.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import ground, sides
from bench.demo import FOLDER
from bench.ground import SEED, Stack, folder_of, phase
from bench.processes import ROOT, Failed, end_on_signals
from bench.traffic import Shape, sessions

REPLICAS: Final = 4
"""Half of them compute prompts where the work is divided."""
SIMULATOR: Final = (
    "--kv-connector",
    "nixl",
    "--kv-load-failure-policy",
    "recompute",
    "--num-blocks",
    "17500",
)
SHAPE: Final = Shape(
    sessions=160,
    turns=1,
    system_prompts=8,
    system_words=500,
    question_words=3_000,
    answer_tokens=96,
    spread_seconds=36.0,
)
"""Some four requests a second, of 6,500 tokens each and hardly any of them shared."""

CONFIG: Final = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: disagg-profile-handler
  parameters:
    deciders: {prefill: prefix-based-pd-decider}
    disaggregation: WAY
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 256}}
- type: prefill-filter
- type: decode-filter
- type: prefix-cache-scorer
- type: token-load-scorer
  parameters: {queueThresholdTokens: 65536}
- type: active-request-scorer
- {type: file-discovery, parameters: {path: ENDPOINTS}}
schedulingProfiles:
- name: prefill
  plugins:
  - {pluginRef: prefill-filter}
  - {pluginRef: prefix-cache-scorer, weight: 1}
  - {pluginRef: token-load-scorer, weight: 3}
- name: decode
  plugins:
  - {pluginRef: decode-filter}
  - {pluginRef: active-request-scorer}
dataLayer:
  discovery: {pluginRef: file-discovery}
"""

SIDES: Final = {"mixed": "mixed", "sidecar": "2 + 2, sidecar", "inline": "2 + 2, inline"}
ROWS: Final = (
    ("requests", "requests", ""),
    ("errors", "errors", ""),
    ("time to first token p50", "ttft_p50_ms", "ms"),
    ("time to first token p99", "ttft_p99_ms", "ms"),
    ("inter-token latency p50", "itl_p50_ms", "ms"),
    ("inter-token latency p99", "itl_p99_ms", "ms"),
    ("output tokens a second", "output_tokens_per_s", ""),
    ("CPU of picker and sidecars a request", "routing_cpu_ms", "ms"),
    ("requests per replica", "requests_per_replica", ""),
)


@contextlib.asynccontextmanager
async def stack(side: str) -> AsyncIterator[Stack]:
    """Fresh replicas and what stands before them; all ended with the phase."""
    async with folder_of(FOLDER, side) as programs:
        replicas = await programs.replicas(REPLICAS, *SIMULATOR)
        if side == "mixed":
            yield await ground.behind(programs, await programs.picker(replicas), replicas, replicas)
            return
        half = REPLICAS // 2
        prefill, decode = replicas[:half], replicas[half:]
        if side == "sidecar":
            decode = [await programs.sidecar(engine, n) for n, engine in enumerate(decode)]
        config = _configuration(programs.folder, side, prefill, decode)
        picker = await programs.picker((), f"--config-file={config}")
        yield await ground.behind(programs, picker, [*prefill, *decode], replicas)


def _configuration(folder: Path, way: str, prefill: Sequence[str], decode: Sequence[str]) -> Path:
    """Writes the endpoints, by role, and the configuration that points to them."""
    endpoints = folder / "endpoints.yaml"
    entries = [_entry("prefill", n, place) for n, place in enumerate(prefill)]
    entries += [_entry("decode", n, place) for n, place in enumerate(decode)]
    endpoints.write_text(json.dumps({"endpoints": entries}, indent=2))
    file = folder / "config.yaml"
    file.write_text(CONFIG.replace("WAY", way).replace("ENDPOINTS", str(endpoints)))
    return file


def _entry(role: str, number: int, place: str) -> dict[str, Any]:
    address, _, port = place.rpartition(":")
    labels = {"llm-d.ai/role": role}
    return {"name": f"{role}-{number}", "address": address, "port": port, "labels": labels}


async def demo() -> int:
    """All phases, the table, the summary; answers the exit code."""
    end_on_signals()
    console = Console()
    chats = list(sessions(SHAPE, SEED))
    summary: dict[str, dict[str, Any]] = {}
    for side, heading in SIDES.items():
        async with stack(side) as stage:
            summary[side] = await phase(heading, chats, SHAPE, console, stage)
    title = f"{REPLICAS} simulated replicas of the same speed, {SHAPE.sessions} long prompts"
    console.print(sides.table(title, ROWS, SIDES, summary))
    file = FOLDER / "disagg.json"
    file.write_text(json.dumps(summary, indent=2) + "\n")
    console.print(f"written to {file.relative_to(ROOT)}; logs beside it")
    return 1 if any(outcome["errors"] for outcome in summary.values()) else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.demo_disagg", description=__doc__)
    parser.parse_args()
    try:
        return asyncio.run(demo())
    except Failed as error:
        print(f"demo-disagg: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
