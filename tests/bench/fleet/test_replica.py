import random
from dataclasses import replace

import numpy as np
import pytest

from bench.fleet import gaps
from bench.fleet.replica import Job, Replica
from bench.fleet.traffic import Request
from bench.simulator.sequence import Sequence
from tests.fakes.stepwise import token_times
from tests.fakes.virtual import BLOCK, ENGINE, fleet, request, run, singles


def traffic(seed: int, count: int = 40) -> list[Request]:
    """More than the cache holds at times, so that sequences lose their places; some share prefixes."""
    rng, now, requests = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(6.0)
        first = rng.choice([0, 0, 100_000, rng.randrange(10**6) * 1000])
        requests.append(
            request(
                rng.randint(1, 1800), rng.randint(1, 300), at=now, first=first, adapter=rng.choice(["", "a"])
            )
        )
    return requests


@pytest.mark.parametrize("seed", range(4))
def test_steps_taken_together_are_the_same_as_one_by_one(seed: int) -> None:
    requests = traffic(seed)
    times, engine = token_times(ENGINE, requests, BLOCK)
    assert engine.preemptions, "this traffic is to fill the cache"
    outcome = run(fleet(1), singles(*requests))
    first = np.array([each[0] for each in times])
    spans = [np.diff(each) for each in times]
    arrival = np.array([each.arrival for each in requests])
    np.testing.assert_allclose(outcome.ttft, first - arrival, rtol=1e-9)
    np.testing.assert_allclose(outcome.tpot, [each.mean() if len(each) else 0.0 for each in spans], rtol=1e-9)
    np.testing.assert_allclose(
        outcome.longest_gap, [each.max() if len(each) else 0.0 for each in spans], rtol=1e-6
    )
    assert outcome.duration == pytest.approx(max(each[-1] for each in times))
    counted = np.concatenate(spans)
    assert outcome.gaps.sum() == len(counted)
    for share in (0.1, 0.5, 0.9, 0.99):
        exact = np.quantile(counted, share, method="inverted_cdf")
        assert gaps.percentile(outcome.gaps, share) == pytest.approx(exact, rel=0.011)


def test_a_prompt_alone_takes_its_tokens_at_the_rate_of_prefill() -> None:
    config = replace(ENGINE, num_blocks=2000, max_num_batched_tokens=2048)
    outcome = run(fleet(1, config), singles(request(8192, 1)))
    reads = 2048 + 4096 + 6144
    expected = 4 * config.fixed_s + 8192 * config.prefill_token_s + reads * config.cached_token_s
    assert outcome.ttft[0] == pytest.approx(expected)
    assert outcome.own_prefill[0] == pytest.approx(expected)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_the_time_between_tokens_grows_with_the_batch(batch: int) -> None:
    requests = [request(16, 200, at=0.0, first=number * 1000) for number in range(batch)]
    outcome = run(fleet(1), singles(*requests))
    context = batch * (16 + 200 / 2)
    expected = ENGINE.fixed_s + batch * ENGINE.decode_sequence_s + context * ENGINE.cached_token_s
    assert gaps.percentile(outcome.gaps, 0.5) == pytest.approx(expected, rel=0.02)


def test_who_comes_in_the_midst_of_a_step_joins_at_its_end() -> None:
    replica = Replica(0, ENGINE, horizon=1.0)
    replica.submit(job(65, 100), 0.0)
    first = replica.next
    assert first is not None
    replica.proceed()
    planned, late = replica.next, job(64, 2)
    replica.submit(late, first + 2.5 * ENGINE.fixed_s)
    end = first + 3 * (ENGINE.fixed_s + ENGINE.decode_sequence_s) + (65 + 66 + 67) * ENGINE.cached_token_s
    assert replica.next == pytest.approx(end)
    assert planned is not None
    assert planned > end, "without it, more steps were to be taken together"
    replica.proceed()
    assert late.sequence.scheduled == pytest.approx(end)


def test_the_page_shows_the_end_of_the_last_step_not_the_running_one() -> None:
    replica = Replica(0, ENGINE, horizon=10.0)
    replica.submit(job(160, 3), 1.0)
    end = replica.next
    assert end is not None
    replica.submit(job(160, 3), 1.001)
    replica.proceed()
    before, after = replica.gauges_at(end - 1e-6), replica.gauges_at(end)
    assert before is not None
    assert after is not None
    assert (before.running, before.waiting, before.kv_usage) == (0, 0, 0.0)
    # The second one came during the step: the engine has not seen it when it reports.
    assert (after.running, after.waiting, after.kv_usage) == (1, 0, 10 / 400)


def test_of_pages_only_those_that_can_still_be_read_are_kept() -> None:
    replica = Replica(0, ENGINE, horizon=0.0)
    replica.submit(job(160, 200), 0.0)
    for _ in range(8):
        replica.proceed()
    assert replica.gauges_at(0.0) is None
    assert replica.gauges_at(replica.next or 0.0) is not None


def job(prompt: int, output: int) -> Job:
    return Job(request(prompt, output), Sequence(prompt, output), picker=0)
