"""Who may fetch what, and until when; the time is a number that the tests say."""

from bench.simulator.leases import Leases
from bench.simulator.sequence import Sequence


def next_end(leases: Leases) -> float | None:
    return leases.next_end


def test_a_lease_ends_after_its_seconds_and_in_order() -> None:
    leases, first, second = Leases(30.0), Sequence(8, 1), Sequence(8, 1)
    leases.grant("a", first, 0.0)
    leases.grant("b", second, 10.0)
    assert next_end(leases) == 30.0
    assert leases.expire(29.9) == []
    assert leases.expire(30.0) == [first]
    assert next_end(leases) == 40.0
    assert leases.expire(100.0) == [second]
    assert (next_end(leases), len(leases), leases.claim("a")) == (None, 0, None)


def test_a_claimed_lease_does_not_end_and_begins_anew_when_the_claim_goes() -> None:
    leases, sequence = Leases(30.0), Sequence(8, 1)
    leases.grant("a", sequence, 0.0)
    assert leases.claim("a") is sequence
    assert next_end(leases) is None
    assert leases.expire(100.0) == []
    leases.unclaim("a", 100.0)
    assert next_end(leases) == 130.0
    assert leases.expire(130.0) == [sequence]


def test_of_two_claims_the_last_one_counts() -> None:
    leases = Leases(30.0)
    leases.grant("a", Sequence(8, 1), 0.0)
    leases.claim("a")
    leases.claim("a")
    leases.unclaim("a", 1.0)
    assert next_end(leases) is None
    leases.unclaim("a", 2.0)
    assert next_end(leases) == 32.0


def test_what_was_fetched_is_gone_once() -> None:
    leases, sequence = Leases(30.0), Sequence(8, 1)
    leases.grant("a", sequence, 0.0)
    leases.claim("a")
    assert leases.take("a") is sequence
    assert leases.take("a") is None
    leases.unclaim("a", 5.0)
    assert (next_end(leases), leases.expire(1000.0)) == (None, [])


def test_a_renewed_lease_ends_after_a_younger_one() -> None:
    leases, old, young = Leases(30.0), Sequence(8, 1), Sequence(8, 1)
    leases.grant("old", old, 0.0)
    leases.grant("young", young, 10.0)
    leases.claim("old")
    leases.unclaim("old", 20.0)
    assert leases.expire(40.0) == [young]
    assert leases.expire(50.0) == [old]
