import numpy as np
import pytest

from bench.ranking import show
from bench.ranking.verdict import METRICS, Sample, agreement, ranking

MEAN, P90, GOODPUT = METRICS.values()
RNG = np.random.default_rng(5)
NOISE = RNG.exponential(1.0, 400)


def sample(factor: float, *, good: float = 0.5, extra: float = 0.0, missing: int = 0) -> Sample:
    """TTFT of the same requests, times a factor, with noise of its own."""
    ttft = NOISE * factor + extra * RNG.exponential(1.0, 400)
    ttft[:missing] = np.nan
    return Sample(
        ttft,
        (np.arange(400) % 100 < good * 100.0).astype(float),
        0.5,
        {"failed": missing, "cores": 0.5, "late_p99": 0.001, "complaints": []},
    )


def test_who_is_ahead() -> None:
    fast, slow = sample(1.0), sample(1.5)
    for metric in (MEAN, P90):
        assert metric.order(fast, slow) == -1
        assert metric.order(slow, fast) == 1
    assert GOODPUT.order(sample(1.0, good=0.9), sample(1.0, good=0.5)) == -1
    assert GOODPUT.order(sample(1.0, good=0.5), sample(1.0, good=0.9)) == 1


def test_noise_is_a_tie() -> None:
    """A tenth more on average, of requests that differ by far more, each way."""
    rng = np.random.default_rng(1)
    one = Sample(rng.exponential(1.0, 100), np.ones(100), 0.5, {})
    other = Sample(rng.exponential(1.1, 100), np.ones(100), 0.5, {})
    assert MEAN.order(one, other) == 0


def test_differences_too_small_to_matter_are_ties() -> None:
    assert MEAN.order(sample(1.0), sample(1.04)) == 0
    assert MEAN.order(sample(1.0), sample(1.08)) == -1
    assert MEAN.order(sample(1.0), sample(1.0)) == 0


def test_requests_that_share_a_queue_are_drawn_together() -> None:
    """One congestion in which a policy did badly is one event, not fifty."""
    calm = np.ones(200)
    jammed = calm.copy()
    jammed[100:120] = 4.0
    spread = calm.copy()
    spread[::10] = 4.0
    one, jam, often = (Sample(ttft, calm, 0.5, {}) for ttft in (calm, jammed, spread))
    assert MEAN.value(jam) == pytest.approx(MEAN.value(often))
    assert MEAN.order(one, jam) == 0
    assert MEAN.order(one, often) == -1


def test_rankings_are_told_with_their_ties() -> None:
    world = {"slow": sample(2.0), "fast": sample(1.0), "twin": sample(1.01)}
    assert ranking(MEAN, world) == "fast = twin < slow"
    best = {"worst": sample(1.0, good=0.2), "best": sample(1.0, good=0.9)}
    assert ranking(GOODPUT, best) == "best < worst"


def test_agreement_is_about_pairs() -> None:
    one = {"a": sample(1.0), "b": sample(1.5), "c": sample(1.5)}
    other = {"a": sample(1.0), "b": sample(1.0), "c": sample(0.6)}
    both = agreement(MEAN, one, other)
    assert both.alike == []
    assert both.open == [("a", "b"), ("b", "c")]
    assert both.against == [("a", "c")]
    assert not both.holds
    assert agreement(MEAN, one, one).alike == [("a", "b"), ("a", "c"), ("b", "c")]


def test_requests_that_failed_have_no_latency() -> None:
    assert MEAN.order(sample(1.0, missing=30), sample(1.5)) == -1
    nobody = sample(1.0, missing=400)
    for metric in (MEAN, P90):
        assert (metric.order(nobody, sample(9.0)), metric.order(sample(9.0), nobody)) == (1, -1)
        assert metric.order(nobody, nobody) == 0


def test_what_both_worlds_say_is_shown() -> None:
    one = {"a": sample(1.0), "b": sample(1.5, good=0.2)}
    other = {"a": sample(1.5), "b": sample(1.0, good=0.2)}
    told = "\n".join(show.lines(one, other))
    assert "TTFT mean: the rankings DISAGREE: 0 of 1 pairs alike" in told
    assert "the other way round: a and b" in told
    assert "goodput: the rankings agree: 1 of 1 pairs alike" in told
    assert not show.agree(one, other)
    assert show.agree(one, one)
    assert show.table("both", one, other).row_count == 2
    document = show.document(one, other)
    assert document["agree"] is False
    assert document["rankings"]["ttft_mean"]["against"] == [("a", "b")]
    assert document["policies"]["a"]["http"]["hit_rate"] == 0.5


def test_what_spoils_a_run_is_told() -> None:
    run = sample(1.0)
    late = Sample(run.ttft, run.good, 0.5, {"late_p99": 0.3, "complaints": ["HTTP 503: gone"]})
    told = " ".join(show.troubles({"a": late}))
    assert "300 ms late" in told
    assert "HTTP 503: gone" in told
