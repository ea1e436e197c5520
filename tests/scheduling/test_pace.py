"""How fast endpoints compute prompts, from their first tokens."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.scheduling.pace import EXTREME, FADING, Pace
from tests.core.test_ledger import table_of

ALL = np.arange(3)


def test_nobody_is_slow_as_long_as_nothing_is_known() -> None:
    assert Pace(table_of(3)).slowness(ALL, 5.0).tolist() == [1.0, 1.0, 1.0]


def test_who_takes_twice_as_long_is_slow() -> None:
    measured, now = Pace(table_of(2)), 0.0
    for _ in range(200):
        now += 0.2
        measured.computed(0, 4_000.0, since=now - 0.1, now=now)
        measured.computed(1, 4_000.0, since=now - 0.2, now=now)
    # Half the tokens at 1 and half at 2: together 1.5 a token; and both count as alike for a while.
    fast, slow = measured.slowness(np.arange(2), now)
    assert (fast, slow) == pytest.approx((1 / 1.5, 2 / 1.5), rel=0.15)


def test_one_prompt_that_was_disturbed_says_little() -> None:
    measured = Pace(table_of(2))
    for at in range(1, 12):
        for row in (0, 1):
            waited = 5.0 if (row, at) in {(1, 4), (1, 9)} else 0.1
            measured.computed(row, 1_000.0, since=10.0 * at - waited, now=10.0 * at)
    assert measured.slowness(np.arange(2), 110.0).tolist() == pytest.approx([1.0, 1.0])


def test_what_was_seen_fades() -> None:
    measured = Pace(table_of(2))
    for at in range(1, 20):
        measured.computed(0, 1_000.0, since=at - 0.1, now=float(at))
        measured.computed(1, 1_000.0, since=at - 1.0, now=float(at))
    then = measured.slowness(np.arange(2), 20.0)[1]
    later = measured.slowness(np.arange(2), 20.0 + 5 * FADING)[1]
    assert then > 1.3
    assert 1.0 <= later < 1.05


def test_another_endpoint_in_the_row_starts_afresh() -> None:
    table = table_of(2)
    measured = Pace(table)
    for at in range(1, 20):
        measured.computed(0, 1_000.0, since=at - 1.0, now=float(at))
        measured.computed(1, 1_000.0, since=at - 0.1, now=float(at))
    assert measured.slowness(np.arange(2), 20.0)[0] > 1.3
    first, second = table
    table.replace([second])
    table.replace([replace(first, port=first.port + 1), second])
    assert table.live.tolist() == [0, 1]
    assert measured.slowness(np.arange(2), 20.0)[0] == 1.0


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(1, 1e6), st.floats(0, 1e3), st.floats(0, 1e3)), max_size=30
    )
)
def test_it_is_always_a_number_within_bounds(events: list[tuple[int, float, float, float]]) -> None:
    measured, now = Pace(table_of(3)), 0.0
    for row, tokens, before, later in events:
        now += later
        measured.computed(row, tokens, since=now - before, now=now)
        found = measured.slowness(ALL, now)
        assert np.all((found >= 1 / EXTREME) & (found <= EXTREME))
