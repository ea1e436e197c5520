"""The program as a user starts it, and ends it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LONG = ["--workloads", "lora", "--requests", "3000", "--replicas", "2", "--jobs", "2"]
PATIENCE = 20.0


def start(*flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.routing", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def at_work(group: int) -> int:
    """Processes of a group, but for those that have ended and nobody asked about."""
    found = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            state, _, owner = file.read_text().rpartition(")")[2].split()[:3]
            found += int(owner) == group and state != "Z"
    return found


def until(count: int, group: int, *, more: bool) -> bool:
    """Whether there are so many, or more, in time."""
    for _ in range(int(PATIENCE / 0.1)):
        found = at_work(group)
        if found == count or (more and found > count):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_left_behind(tmp_path: Path, ending: signal.Signals) -> None:
    with start(*LONG, "--into", str(tmp_path)) as program:
        try:
            assert until(3, program.pid, more=True)  # itself and two that simulate
            if ending == signal.SIGINT:
                os.killpg(program.pid, ending)  # as a terminal does
            else:
                program.send_signal(ending)
            output, _ = program.communicate(timeout=PATIENCE)
            assert program.returncode == (130 if ending != signal.SIGKILL else -ending)
            assert "Traceback" not in output
            assert until(0, program.pid, more=False)
        finally:
            if at_work(program.pid):
                os.killpg(program.pid, signal.SIGKILL)
    assert not list(tmp_path.iterdir())


def test_the_program_writes_its_report(tmp_path: Path) -> None:
    flags = ["--quick", "--workloads", "lora", "--requests", "20", "--replicas", "2", "--seeds", "1"]
    program = start(*flags, "--policies", "weighted,default", "--jobs", "1", "--into", str(tmp_path))
    output, _ = program.communicate(timeout=50.0)
    assert program.returncode == 0, output
    assert "routing.html" in output
    assert (tmp_path / "routing.json").is_file()


def test_nothing_to_run_is_said(tmp_path: Path) -> None:
    program = start("--workloads", "azure", "--trace", str(tmp_path), "--into", str(tmp_path))
    output, _ = program.communicate(timeout=50.0)
    assert program.returncode == 1
    assert "azure_2023_conv.csv" in output
    assert "Traceback" not in output
