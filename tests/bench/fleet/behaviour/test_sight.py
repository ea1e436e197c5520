"""What pickers see may be old, or in part wrong, and there may be several of them: nobody runs in a herd.

A herd is seen in two ways: many requests in a row go to the same replica, and first tokens come late while
others idle.
"""

from typing import Any

import pytest

from bench.fleet.outcome import Outcome
from tests.fakes.crowds import POLICY, alike, crowd, longest_run, play

ONCE = 1e6
"""Seconds between two readings: there is only the one at the start, which soon counts no longer."""
LONE = crowd(60.0, 400, question=800)


def lone(**changes: Any) -> Outcome:
    """Six replicas, and prompts that have nothing in common."""
    return play(alike(6, **changes), LONE)


def evenly(outcome: Outcome) -> float:
    """The largest number of requests of a replica over the mean."""
    counts = [int((outcome.replica == replica).sum()) for replica in range(len(outcome.busy))]
    return max(counts) * len(counts) / sum(counts)


@pytest.fixture(scope="module")
def fresh() -> Outcome:
    return lone()


def test_prompts_that_have_nothing_in_common_spread(fresh: Outcome) -> None:
    assert evenly(fresh) < 1.15
    assert fresh.summary().balance < 1.15
    assert longest_run(fresh) <= 3


@pytest.mark.parametrize("interval", [1.0, 5.0, ONCE])
def test_old_gauges_make_no_herd(interval: float, fresh: Outcome) -> None:
    old = lone(scrape_interval=interval)
    assert evenly(old) < 1.15
    assert longest_run(old) <= 3
    assert old.summary().ttft_p90 < 1.25 * fresh.summary().ttft_p90


@pytest.mark.parametrize("interval", [0.05, 1.0, ONCE])
def test_neither_do_several_pickers(interval: float) -> None:
    """Each knows a quarter of what is in flight; going round would be even, and blind to who is busy."""
    together = lone(pickers=4, scrape_interval=interval)
    blind = play(alike(6, pickers=4), LONE, "round-robin")
    assert evenly(together) < 1.2
    assert longest_run(together) <= 8
    assert together.summary().ttft_p90 < 1.25 * blind.summary().ttft_p90


def test_an_index_that_is_wrong_for_a_fifth_leaves_it_ahead() -> None:
    fleet, what = alike(6, wrong_blocks=0.2), crowd(40.0, 500, groups=40, shared=6016)
    found = {name: play(fleet, what, name).summary() for name in (POLICY, "weighted", "round-robin")}
    ours = found.pop(POLICY)
    for other in found.values():
        assert ours.goodput > other.goodput
        assert ours.ttft_p90 < other.ttft_p90
