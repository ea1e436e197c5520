"""What is run follows from the flags and from the traces that are there."""

from pathlib import Path

import pytest

from bench.fleet.roster import find
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


def test_late_events_disturb_those_who_hear_them() -> None:
    settings = parse(["--workloads", "lora,chat"])
    scenes = {each.name: each for each in plan(settings).scenes}
    late, base = scenes["chat, KV events 1 s late"], scenes["chat"]
    assert "lora, KV events 1 s late" not in scenes, "it is not the workload that matters most"
    assert {spec.name for spec in late.policies} >= {"dynamo", "mooncake", "default", "affinity"}
    for spec in late.policies:
        disturbed = late.trial(settings, spec, 1.0, 1)
        assert disturbed.fleet.event_delay == (1.0 if spec.name in ("dynamo", "mooncake") else 0.0)
        # so nobody is simulated again whom it does not concern
        assert (disturbed == base.trial(settings, spec, 1.0, 1)) == (not disturbed.fleet.event_delay)


def test_without_anybody_who_hears_events_there_is_nothing_to_be_late() -> None:
    names = {
        each.name for each in plan(parse(["--workloads", "chat", "--policies", "weighted,default"])).scenes
    }
    assert "chat, 4 pickers" in names
    assert "chat, KV events 1 s late" not in names


def test_divided_fleets_have_policies_of_their_own_and_ours_for_whole_requests() -> None:
    scenes = plan(parse(["--workloads", "agentic,chat"])).scenes
    (scene,) = (each for each in scenes if each.part == Part.DIVIDED)
    assert scene.name == "agentic, prefill and decode apart"
    assert set(scene.fleet.roles) == {"prefill", "decode"}
    assert {spec.name for spec in scene.policies} == {"pd-weighted", "pd-guide", "pd-work", "default"}
    assert [spec.name for spec in scene.field.references] == ["pd-weighted", "pd-guide"]
    assert scene.field.ours is not None
    assert scene.field.ours.name == "pd-work"
    for other in (each for each in scenes if each is not scene):
        assert not any(spec.name.startswith("pd-") for spec in other.policies)


def test_a_file_that_divides_fleets_is_run_on_those(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(find("pd-guide").config)
    scenes = plan(parse(["--workloads", "agentic", "--policies", f"pd-weighted,{file}"])).scenes
    (scene,) = scenes
    assert [spec.name for spec in scene.policies] == ["pd-weighted", "mine"]
    with pytest.raises(ValueError, match="--quick"):
        plan(parse(["--quick", "--workloads", "chat", "--policies", "pd-weighted"]))


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
