"""Replicas that join, grow slow, or die: who gets how much of the traffic, and how soon.

Prompts have nothing in common, so that four replicas that are alike get a quarter each. Of 100 or more
requests the share of one is then within 0.1 of that, by chance alone with more than 2 sigma, and a policy
that looks at loads is more even than chance.
"""

import pytest

from bench.fleet.fleet import Incident
from bench.fleet.outcome import Fate, Outcome
from tests.fakes.crowds import alike, crowd, play, share

RATE = 24.0
FAIR = pytest.approx(0.25, abs=0.1)


def happens(*incidents: Incident, seconds: float, detection: float = 3.0) -> Outcome:
    """Four replicas at about half of what they can do."""
    fleet = alike(4, incidents=incidents, detection=detection)
    return play(fleet, crowd(RATE, int(RATE * seconds)))


def test_a_cold_replica_that_joins_gets_its_share_within_seconds() -> None:
    outcome = happens(Incident(6.0, 3, "joins"), seconds=18.0)
    assert share(outcome, 3, 0.0, 6.0) == 0.0
    assert share(outcome, 3, 6.0, 10.0) == pytest.approx(0.25, abs=0.15)
    assert share(outcome, 3, 8.0, 18.0) == FAIR


def test_it_does_so_where_the_others_hold_what_prompts_begin_with() -> None:
    """There it has to compute what others would not; who never gets anything never has anything cached."""
    fleet = alike(4, incidents=(Incident(8.0, 3, "joins"),))
    outcome = play(fleet, crowd(28.0, 700, groups=40))
    assert share(outcome, 3, 8.0, 14.0) > 0.08
    assert share(outcome, 3, 14.0, 25.0) > 0.1
    mine = (outcome.replica == 3) & (outcome.arrival > 16.0)
    assert outcome.cached_tokens[mine].sum() > 0.5 * outcome.prompt_tokens[mine].sum()


def test_one_that_slows_to_a_quarter_loses_most_of_its_traffic_and_regains_it() -> None:
    outcome = happens(Incident(6.0, 3, "slows", 4.0), Incident(16.0, 3, "slows", 1.0), seconds=30.0)
    assert share(outcome, 3, 0.0, 6.0) == FAIR
    # Equally busy, it would get a quarter of what each of the others gets: one in 13.
    assert 0.0 < share(outcome, 3, 9.0, 16.0) < 0.14
    assert share(outcome, 3, 20.0, 30.0) == FAIR


def test_one_that_fails_is_left_alone_and_comes_back() -> None:
    """Nobody says that it is gone: only its answers do. Left alone for 5 s, and after a try for 10 more."""
    outcome = happens(Incident(6.0, 3, "dies"), Incident(15.0, 3, "joins"), seconds=34.0, detection=100.0)
    assert share(outcome, 3, 0.0, 6.0) == FAIR
    assert share(outcome, 3, 7.0, 15.0) < 0.05
    assert share(outcome, 3, 24.0, 34.0) == FAIR
    # Three in a row before it is left alone, and one for each of at most two tries.
    failed = (outcome.fate == Fate.FAILED) & (outcome.arrival >= 6.0)
    assert 1 <= failed.sum() <= 5
