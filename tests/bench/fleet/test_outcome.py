import math
from dataclasses import replace

import numpy as np
import pytest

from bench.fleet import gaps
from bench.fleet.fleet import prefill_seconds
from bench.fleet.gaps import Gaps
from bench.fleet.outcome import LENGTH_AWARE, Fate, Objective, Outcome
from tests.fakes.virtual import ENGINE, fleet, request, run, singles

NAN = math.nan


def outcome() -> Outcome:
    """Good, too late, too slow, late but long, refused, failed."""
    counts = np.zeros(gaps.BINS, np.int64)
    counts[gaps.bin_of(0.02)] = 99
    counts[gaps.bin_of(0.5)] = 1
    return Outcome(
        policy="test",
        fate=np.array([Fate.SERVED] * 4 + [Fate.REFUSED, Fate.FAILED]),
        replica=np.array([0, 1, 0, 1, -1, 0]),
        arrival=np.arange(6.0),
        ttft=np.array([1.0, 2.5, 1.0, 2.5, NAN, 1.0]),
        tpot=np.array([0.02, 0.02, 0.06, 0.02, NAN, NAN]),
        longest_gap=np.array([0.02, 0.02, 0.06, 0.5, NAN, NAN]),
        prompt_tokens=np.array([100, 100, 100, 700, 100, 100]),
        output_tokens=np.full(6, 10),
        cached_tokens=np.array([50, 0, 0, 200, 0, 90]),
        own_prefill=np.array([0.1, 0.1, 0.1, 0.9, 0.1, 0.1]),
        gaps=counts,
        busy=np.array([3.0, 1.0]),
        duration=9.0,
        prefiller=np.full(6, -1),
    )


def test_refused_and_failed_requests_miss_every_objective() -> None:
    assert outcome().within(Objective()).tolist() == [True, False, False, False, False, False]
    assert outcome().within(LENGTH_AWARE).tolist() == [True, False, False, True, False, False]
    assert outcome().within(Objective(ttft=9.0, tpot=1.0)).tolist() == [True] * 4 + [False] * 2


def test_the_sum_of_a_run() -> None:
    summary = outcome().summary()
    assert summary.requests == 6
    assert summary.goodput == pytest.approx(1 / 6)
    assert summary.attained == pytest.approx(2 / 6)
    assert summary.refused == summary.failed == pytest.approx(1 / 6)
    assert summary.ttft_p50 == pytest.approx(1.75)
    assert summary.hit_rate == pytest.approx(250 / 1000)
    assert summary.balance == pytest.approx(1.5)
    assert summary.itl_p50 == pytest.approx(0.02, rel=0.01)
    assert summary.itl_p99 == pytest.approx(0.02, rel=0.01)


def test_what_arrived_early_can_be_left_out() -> None:
    summary = outcome().summary(since=2.0)
    assert summary.requests == 4
    assert summary.goodput == 0.0


def test_where_nobody_is_served_there_are_no_latencies() -> None:
    nobody = replace(outcome(), fate=np.full(6, Fate.REFUSED), gaps=np.zeros(gaps.BINS, np.int64))
    document = nobody.summary().document()
    assert document["ttft_p90"] is document["itl_p99"] is document["hit_rate"] is None
    assert document["refused"] == 1.0


@pytest.mark.parametrize(
    ("tokens", "cached"), [(1, 0), (512, 0), (513, 0), (1500, 0), (1500, 1024), (1500, 1488)]
)
def test_the_own_prefill_is_what_an_idle_engine_takes(tokens: int, cached: int) -> None:
    first = request(cached + 1, 1) if cached else request(1, 1, first=10**6)
    outcome = run(fleet(1), singles(first, request(tokens, 1, at=5.0)))
    assert outcome.cached_tokens[1] == cached
    assert outcome.ttft[1] == pytest.approx(prefill_seconds(ENGINE, tokens, cached))


def test_the_longest_gap_since_any_step() -> None:
    seconds = np.random.default_rng(1).exponential(1.0, 200)
    counted = Gaps()
    for each in seconds:
        counted.add(each, 1, each)
    for step in range(200):
        assert counted.longest_since(step) == seconds[step:].max()
    assert counted.longest_since(200) == 0.0


def test_gaps_of_any_length_are_counted() -> None:
    assert gaps.bin_of(0.0) == 0
    assert gaps.bin_of(1e9) == gaps.BINS - 1
    assert math.isnan(gaps.percentile(np.zeros(gaps.BINS, np.int64), 0.5))
