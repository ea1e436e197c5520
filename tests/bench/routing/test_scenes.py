"""What is run follows from the flags and from the traces that are there."""

from pathlib import Path

import pytest

from bench.routing.scenes import Part, plan
from bench.routing.settings import parse


def test_a_trace_that_is_missing_is_said_and_its_workload_left_out(tmp_path: Path) -> None:
    made = plan(parse(["--workloads", "conversation,chat", "--trace", str(tmp_path)]))
    assert {scene.workload for scene in made.scenes} == {"chat"}
    (told,) = made.skipped
    assert "mooncake_conversation.jsonl" in told
    assert str(tmp_path) in told


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--trace"):
        plan(parse(["--workloads", "azure", "--trace", str(tmp_path)]))


def test_the_whole_suite_has_all_that_is_promised() -> None:
    scenes = plan(parse(["--workloads", "chat,shared-prefix"])).scenes
    names = {scene.name for scene in scenes}
    for name in (
        "chat, mixed speed",
        "chat, mixed memory",
        "chat, gauges 1 s old",
        "chat, 4 pickers",
        "chat, mixed speed, index wrong for 20 %",
        "shared-prefix, engines 4 times as fast",
    ):
        assert name in names
    assert len(names) == len(scenes)
    for scene in scenes:
        assert not scene.base or scene.base in names


def test_disturbances_disturb() -> None:
    scenes = {each.name: each.fleet for each in plan(parse(["--workloads", "lora"])).scenes}
    assert scenes["lora, gauges 1 s old"].scrape_interval == 1.0
    assert scenes["lora, 4 pickers"].pickers == 4
    assert scenes["lora, index wrong for 20 %"].wrong_blocks == 0.2


def test_objectives_keep_pace_with_engines() -> None:
    scenes = plan(parse(["--workloads", "shared-prefix"])).scenes
    usual = next(scene for scene in scenes if scene.name == "shared-prefix")
    for scene in (each for each in scenes if each.part == Part.PACES):
        slower = scene.fleet.engines[0].fixed_s / usual.fleet.engines[0].fixed_s
        assert slower in (0.25, 4.0)
        assert scene.objective.ttft == pytest.approx(2.0 * slower)
        assert scene.objective.tpot == pytest.approx(0.05 * slower)


def test_quick_is_small() -> None:
    quick = plan(parse(["--quick", "--workloads", "shared-prefix,chat"])).scenes
    assert {scene.part for scene in quick} == {Part.WORKLOADS, Part.DISTURBED}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--workloads", "chatt"], "chatt is no workload"),
        (["--policies", "round-robbin"], "did you mean round-robin?"),
        (["--policies", "default,default"], "two policies are called default"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--ttft", "-1"], "--ttft is -1"),
    ],
)
def test_wrong_flags_are_told(capsys: pytest.CaptureFixture[str], flags: list[str], says: str) -> None:
    with pytest.raises(SystemExit):
        parse(flags)
    assert says in capsys.readouterr().err
