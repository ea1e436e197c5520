"""Groups: their laws, whatever comes, goes and leaves."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.kvindex.bursts import Bursts, Limits, Member
from tests.fakes.pool import NOW, table_of

ROWS = 4
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ab", "ac", "ad", "x", "xy", "z"]),
        st.sets(st.integers(0, ROWS - 1), min_size=1),
        st.integers(0, ROWS - 1),
        st.floats(0.0, 0.6),
        st.booleans(),
    ),
    max_size=40,
)
LIMITS = st.builds(
    Limits,
    window=st.just(1.0),
    most_of_group=st.none() | st.integers(1, 3),
    most_requests=st.integers(1, 30),
    by_blocks=st.booleans(),
    lead_blocks=st.just(1),
)


def member(prompt: str, came: float) -> Member:
    return Member(prompt.encode(), ord(prompt[0]), len(prompt), came)


@settings(max_examples=200, deadline=None)
@given(LIMITS, STEPS)
def test_assignments_are_candidates_and_books_are_even_in_the_end(limits: Limits, steps: list[Any]) -> None:
    table = table_of((), [{}] * ROWS)
    bursts, now = Bursts(limits), NOW
    for step in steps:
        prompt, rows, pick, passed, leaves = step
        now += passed
        request = member(prompt, now)
        row = bursts.assign(request, Candidates(table, np.array(sorted(rows)), now))
        assert row is None or row in rows
        target = pick if row is None else row
        before = len(bursts)
        bursts.book(request, target)
        assert len(bursts) == min(before + 1, limits.most_requests)
        assert (bursts.load >= 0).all()
        if leaves:
            bursts.drop([pick])
            assert bursts.load[pick] == 0
    bursts.assign(member("end", now + 2.0), Candidates(table, table.live, now + 2.0))
    assert len(bursts) == 0
    assert bursts.load.tolist() == [0] * len(bursts.load)
    assert bursts.leads == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 20))
def test_no_replica_gets_more_of_a_group_than_the_limit_while_others_have_room(most: int, count: int) -> None:
    table = table_of((), [{}] * ROWS)
    bursts = Bursts(Limits(1.0, most, 1000, False, 0))
    sent = [0] * ROWS
    for _ in range(count):
        request = Member(b"p", None, 1, NOW)
        row = bursts.assign(request, table.candidates(NOW))
        target = 0 if row is None else row
        bursts.book(request, target)
        sent[target] += 1
    assert max(sent) <= most or min(sent) >= most
