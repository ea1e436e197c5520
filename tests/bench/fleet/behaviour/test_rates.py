"""Nothing of the policy belongs to an engine: four times as fast or slow, it is ahead all the same."""

import pytest

from bench.fleet.outcome import Objective
from tests.fakes.crowds import POLICY, alike, crowd, play


@pytest.mark.parametrize("times", [0.25, 1.0, 4.0])
def test_engines_of_any_speed_are_served_better_than_by_the_reference(times: float) -> None:
    """Requests come as much slower as engines are, and may take as much longer."""
    fleet = alike(6, times=times, scrape_interval=0.05 * times)
    what = crowd(40.0 / times, 600, groups=40, shared=6016)
    within = Objective(2.0 * times, 0.05 * times)
    names = (POLICY, "weighted", "affinity", "round-robin")
    found = {name: play(fleet, what, name).summary(goodput=within) for name in names}
    ours = found.pop(POLICY)
    for other in found.values():
        assert ours.goodput >= other.goodput
        assert ours.ttft_p90 < other.ttft_p90
        assert ours.hit_rate > other.hit_rate - 0.02
