"""Fuzz the targets: `python -m tests.fuzz [NAME …] [--seconds N]`, each in a process of its own.

Inputs that reach new code, and those that break a law, are kept in `.fuzz/NAME/`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

FOLDER = Path(__file__).resolve().parents[2] / ".fuzz"


def main() -> int:
    """Run the fuzzers side by side; answers 1 when one of them has found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    flags = parser.parse_args()
    for name in flags.names:
        if name not in TARGETS:
            parser.error(f"{name} is not one of {', '.join(TARGETS)}")
    fuzzers = {name: _start(name, flags.seconds) for name in flags.names or TARGETS}
    codes = {name: fuzzer.wait() for name, fuzzer in fuzzers.items()}
    for name, code in codes.items():
        print(f"{name}: {'found something' if code else 'nothing found'}; see {FOLDER.name}/{name}/")
    return int(any(codes.values()))


def _start(name: str, seconds: int) -> subprocess.Popen[bytes]:
    corpus = FOLDER / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    lengths = ("-max_len=2000", "-len_control=20")
    ends = (f"-max_total_time={seconds}", "-timeout=10", "-print_final_stats=1")
    command = (sys.executable, "-m", "tests.fuzz.fuzzer", name, str(corpus), *lengths, *ends)
    prefix = f"-artifact_prefix={FOLDER / name}/"
    with (FOLDER / name / "log.txt").open("wb") as log:
        return subprocess.Popen((*command, prefix), stdout=log, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    sys.exit(main())
