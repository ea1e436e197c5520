import subprocess
import sys
from pathlib import Path

import pytest

from bench.fleet import __main__ as command
from bench.fleet.policy import World
from bench.fleet.roster import BASELINES, find, make, names, shipped
from endpoint_picker.core.errors import ConfigError
from tests.fakes.virtual import BLOCK, fleet

MINE = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}]
"""


def told(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench.fleet", "--requests", "20", "--replicas", "2", *flags])
    return command.main()


def test_policies_are_shown_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    policies = f"round-robin,affinity,{tmp_path / 'mine.yaml'}"
    assert (
        told(monkeypatch, "--policy", policies, "--seeds", "2", "--jobs", "1", "--fleet", "mixed-speed") == 0
    )
    shown = capsys.readouterr().out
    for part in (
        "shared-prefix",
        "round-robin",
        "affinity",
        "mine",
        "mean of 2 seeds",
        "mixed-speed",
        "TTFT",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--policy", "round-robbin"], "did you mean round-robin?"),
        (["--policy", "random,random"], "two policies are called random"),
        (["--workload", "conversation", "--trace", "/nowhere"], "/nowhere"),
        (["--rate", "0"], "must be more than 0"),
        (["--pickers", "0"], "0 pickers"),
        (["--event-delay", "-1"], "event_delay must be 0 or more"),
        (["--fleet", "prefill-decode", "--replicas", "1"], "have 2 or more"),
    ],
)
def test_what_is_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    with pytest.raises(SystemExit):
        told(monkeypatch, "--jobs", "1", *flags)
    assert says in capsys.readouterr().err


def test_a_wrong_configuration_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(MINE.replace("queue-scorer", "queue-scorrer"))
    with pytest.raises(SystemExit):
        told(monkeypatch, "--policy", str(tmp_path / "mine.yaml"), "--jobs", "1")
    assert "queue-scorer" in capsys.readouterr().err


def test_runs_go_to_other_processes() -> None:
    flags = ["--requests", "10", "--replicas", "2", "--seeds", "2", "--policy", "round-robin", "--jobs", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.fleet", *flags], capture_output=True, text=True, check=True
    )
    assert "round-robin" in done.stdout


def test_every_policy_has_a_name_of_its_own() -> None:
    assert len(set(names())) == len(names())
    alone = {"weighted", "weighted-no-hit-lru", "affinity", "random"}
    assert set(shipped()) == alone | {"pd-weighted", "pd-guide", "pd-work"}
    for name in names():
        assert find(name).name == name
    assert set(BASELINES) <= set(names())


def test_a_wrong_configuration_is_found_before_the_run() -> None:
    spec = find("random")
    world = World([], BLOCK)
    with pytest.raises(ConfigError):
        make(type(spec)("wrong", config="kind: Nonsense"), fleet(1), world, 1)
