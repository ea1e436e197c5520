"""Where figures go that a machine reads, and what they were measured on."""

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.processes import ROOT
from endpoint_picker import __version__

FOLDER: Final = ROOT / "bench" / "results"
YARDSTICK_TURNS: Final = 1_000_000


def write(name: str, document: Mapping[str, Any]) -> Path:
    """Write `bench/results/NAME.json`; answers where it is, from the root."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return file.relative_to(ROOT)


def machine() -> dict[str, Any]:
    """What tells apart the figures of two machines."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "endpoint_picker": __version__,
        "yardstick_ms": round(yardstick() * 1e3, 1),
    }


def yardstick() -> float:
    """Seconds of CPU that a million turns of an empty loop take: figures of two machines differ about as
    much as this does."""
    best = float("inf")
    for _ in range(5):
        begin = time.thread_time()
        for _ in range(YARDSTICK_TURNS):
            pass
        best = min(best, time.thread_time() - begin)
    return best


def told(facts: Mapping[str, Any]) -> str:
    """The machine in a line."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}; "
        f"an empty loop turns a million times in {facts['yardstick_ms']} ms"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
