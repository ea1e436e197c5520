"""Which code was run: figures of other code are other figures."""

import hashlib
import subprocess
from typing import Final

from bench.processes import ROOT

_ROOMS: Final = ("endpoint_picker", "bench/fleet", "bench/simulator", "bench/routing")


def commit() -> str:
    """The commit that is checked out; empty where there is none to be seen."""
    return _git("rev-parse", "--short=12", "HEAD")


def changed() -> bool:
    """Whether files that matter differ from the commit."""
    return bool(_git("status", "--porcelain", "--", *_ROOMS))


def sources() -> str:
    """Of all files that decide about a figure, 12 digits that change when one of them does."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((ROOT / room).rglob("*")):
            if file.suffix in (".py", ".yaml"):
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _git(*command: str) -> str:
    try:
        run = subprocess.run(
            ("git", *command), cwd=ROOT, capture_output=True, text=True, check=False, timeout=30.0
        )
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
