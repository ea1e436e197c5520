"""What the command says to flags that make no sense, and where there is no engine."""

import sys
from pathlib import Path

import pytest

from bench import results
from bench.vllm import __main__ as command
from bench.vllm.engine import PLACE


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--rounds 0", "'0' is no number above 0"),
        ("--turns many", "'many' is no number above 0"),
        ("--cache-tokens 100", "100 is too few: the engine wants room for the longest request, 8192"),
        ("--config-file nowhere.yaml", "there is no file 'nowhere.yaml'"),
    ],
)
def test_bad_flags_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: str, told: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["vllm", *flags.split()])
    with pytest.raises(SystemExit):
        command.main()
    assert told in " ".join(capsys.readouterr().err.split())


def test_without_an_engine_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["vllm"])
    monkeypatch.setattr(command, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setenv(PLACE, str(tmp_path))
    assert command.main() == 1
    assert f"there is no vLLM engine in {tmp_path}: `make" in capsys.readouterr().err
    assert not (tmp_path / "vllm.json").exists()
