"""Loads follow from what the reference bears, and nothing is simulated twice; runs are made up here."""

from collections.abc import Mapping

import pytest
from rich.console import Console

from bench.routing.course import Course, Played
from bench.routing.meter import Meter
from bench.routing.scenes import plan
from bench.routing.settings import parse
from bench.routing.sheet import sheet
from tests.fakes.hands import Curves

POLICIES = ("round-robin", "weighted", "affinity", "default")
CAPACITIES = {"round-robin": 1.0, "weighted": 4.0, "affinity": 5.0, "default": 6.0}


async def played(hands: Curves, *flags: str) -> Mapping[str, Played]:
    settings = parse(["--workloads", "unshared", "--policies", ",".join(POLICIES), *flags])
    with Meter(Console(quiet=True), 1.0, 1.0) as meter:
        done = await Course(settings, plan(settings), hands, meter).run()
    return {each.scene.name: each for each in done}


async def test_loads_are_parts_of_what_the_better_reference_bears() -> None:
    scene = (await played(Curves(CAPACITIES)))["unshared"]
    loads = {load.label: load.rate for load, _ in scene.loads}
    for share in (60, 80, 100, 120):
        assert loads[f"{share}% of capacity"] == pytest.approx(5.0 * share / 100.0, rel=0.05)
    # the curve is at 65 % where the load is 3.5 times the capacity
    assert loads["reference's goodput 65%"] == pytest.approx(17.5, rel=0.05)


async def test_every_policy_is_searched_and_compared() -> None:
    scene = (await played(Curves(CAPACITIES)))["unshared"]
    seen = sheet(scene)
    for policy, capacity in CAPACITIES.items():
        assert seen.capacity[policy].mean == pytest.approx(capacity, rel=0.05)
    assert seen.capacity_reference == "affinity"
    assert seen.capacity_ratio is not None
    assert seen.capacity_ratio.mean == pytest.approx(1.2, rel=0.05)
    for load in seen.loads:
        assert load.reference == "affinity"
        assert load.difference["goodput"].sign == 1
        assert load.difference["ttft_p90"].sign == -1


async def test_a_divided_fleet_has_references_of_its_own() -> None:
    bears = {"pd-weighted": 3.0, "pd-guide": 4.0, "pd-work": 6.0, "default": 7.0, "weighted": 5.0}
    flags = ("--workloads", "agentic", "--policies", ",".join(bears))
    scene = (await played(Curves(bears), *flags))["agentic, prefill and decode apart"]
    seen = sheet(scene)
    assert set(seen.capacity) == {"pd-weighted", "pd-guide", "pd-work", "default"}
    assert (seen.ours, seen.capacity_reference) == ("pd-work", "pd-guide")
    assert seen.capacity_ratio is not None
    assert seen.capacity_ratio.mean == pytest.approx(1.5, rel=0.05)
    assert max(load.rate for load, _ in scene.loads if load.fraction) == pytest.approx(4.8, rel=0.05)
    for load in seen.loads:
        assert load.reference == "pd-guide"
        assert load.difference["goodput"].sign == 1


async def test_nothing_is_simulated_twice() -> None:
    hands = Curves(CAPACITIES | {"dynamo": 4.0})
    await played(hands, "--policies", ",".join((*POLICIES, "dynamo")))
    assert set(hands.asked.values()) == {1}


async def test_disturbed_scenes_play_the_loads_of_the_undisturbed() -> None:
    scenes = await played(Curves(CAPACITIES))
    base = {load.label: load.rate for load, _ in scenes["unshared"].loads}
    loads = scenes["unshared, 4 pickers"].loads
    assert {load.label for load, _ in loads} == {"100% of capacity", "reference's goodput 65%"}
    for load, readings in loads:
        assert load.rate == base[load.label]
        assert set(readings) == {"weighted", "affinity", "default"}


async def test_a_reference_that_bears_nothing_is_remarked() -> None:
    scenes = await played(Curves(dict.fromkeys(POLICIES, 1e-9)), "--quick")
    scene = scenes["unshared"]
    assert len(scene.loads) == 1
    assert "no load was found" in scene.remarks[0]
    assert sheet(scene).capacity_ratio is None


async def test_a_reference_that_bears_everything_is_remarked() -> None:
    scenes = await played(Curves(dict.fromkeys(POLICIES, 1e9)), "--quick")
    scene = scenes["unshared"]
    assert "bore every load" in scene.remarks[0]
    seen = sheet(scene)
    assert {"weighted", "affinity", "default"} <= set(seen.unbounded)
    assert seen.capacity_ratio is None


async def test_what_has_no_bound_is_in_no_trouble() -> None:
    scene = (await played(Curves(dict.fromkeys(POLICIES, 1e9))))["unshared"]
    assert len(scene.loads) == 4
    assert any("65 %" in each for each in scene.remarks)
