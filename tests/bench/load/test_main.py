import asyncio
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.load import __main__ as command
from bench.load.flags import parser
from bench.picker import total
from bench.processes import Process, free_port, page
from tests.fakes.fleet import Simulated, started


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of one replica."""
    server = Simulated(tmp_path_factory.mktemp("replica"), "replica", "--speed=50", "--max-loras=2")
    with started(server):
        yield f"http://{server.place}"


def load(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench.load", *flags])
    return command.main()


def written(folder: Path) -> Any:
    return json.loads((folder / "load.json").read_text())


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_run_ends_with_a_table_and_a_file(
    place: str, api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ("--workload", "chat", "--rate", "1", "--speed", "100", "--requests", "20", "--api", api)
    monkeypatch.setenv("KEY", "secret")
    secret = ("--api-key-env", "KEY", "--header", "x-token: secret")
    assert load(monkeypatch, f"{place}/v1", *flags, *secret, "--into", str(tmp_path / "new")) == 0
    shown = capsys.readouterr().out
    assert "20 of 20 requests served" in shown
    assert "time to first token" in shown
    document = written(tmp_path / "new")
    assert document["model"] == "tiny"
    assert document["figures"]["requests"]["served"] == 20
    assert document["asked"]["workload"] == "chat"
    assert "secret" not in json.dumps(document)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["nowhere"], "is no URL of HTTP"),
        (["URL", "--workload", "conversation", "--trace", "/nowhere"], "/nowhere"),
        (["URL", "--rate", "0"], "must be more than 0"),
        (["URL", "--speed", "0"], "--speed is 0.0"),
        (["URL", "--concurrency", "0"], "--concurrency is 0"),
        (["URL", "--token-bytes", "0"], "--token-bytes is 0"),
        (["URL", "--max-tokens", "-1"], "--max-tokens is -1"),
        (["URL", "--header", "blue"], "'blue' is no header"),
        (["URL", "--api-key-env", "NOT_THERE"], "NOT_THERE"),
        (["URL", "--model", "grand"], "no model grand; it lists tiny"),
        (["URL", "--workload", "lora"], "no model adapter-0"),
        (["CLOSED"], "cannot be reached"),
    ],
)
def test_what_is_wrong_is_said(
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    flags: list[str],
    says: str,
) -> None:
    places = {"URL": place, "CLOSED": f"http://127.0.0.1:{free_port()}"}
    assert load(monkeypatch, *(places.get(each, each) for each in flags), "--into", str(tmp_path)) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "load.json").exists()


def test_errors_are_told_and_end_with_a_code_of_their_own(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Contexts of this replica hold 8,192 tokens."""
    flags = ("--workload", "agentic", "--rate", "50", "--speed", "100", "--requests", "30")
    assert load(monkeypatch, place, *flags, "--into", str(tmp_path)) == 1
    assert re.search(r"\d+ times HTTP status", capsys.readouterr().out)
    figures = written(tmp_path)["figures"]
    assert figures["statuses"]["400"] == figures["errors"]["HTTP status"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_what_is_there(
    place: str, number: signal.Signals, tmp_path: Path
) -> None:
    flags = ("--workload", "unshared", "--rate", "10", "--requests", "10000", "--into", str(tmp_path))
    before = total(await page(f"{place}/metrics"), "vllm:request_success_total")
    run = Process((sys.executable, "-m", "bench.load", place, *flags), tmp_path / "log")
    try:
        await run.says("unshared: 10000 requests", 1)
        while not total(await page(f"{place}/metrics"), "vllm:request_success_total") > before:
            await asyncio.sleep(0.05)
        run.signal(number)
        assert await run.wait() == 130
    finally:
        run.kill()
    figures = written(tmp_path)["figures"]
    assert 0 < figures["requests"]["ended"] < 10_000
    assert figures["requests"]["planned"] == 10_000
    assert "time to first token" in (tmp_path / "log").read_text()


def test_the_help_names_every_flag() -> None:
    told = parser("").format_help()
    for flag in ("--workload", "--rate", "--seed", "--trace", "--timeout", "--warmup", "--into"):
        assert flag in told
