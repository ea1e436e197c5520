"""Pickers: order, number, fair ties."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.scheduling.pickers import MaxScore, Most, Uniform, Weighted
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

PICKERS = (MaxScore, Uniform, Weighted)
TABLE = table_of([Gauges()] * 8)
TOTALS = st.lists(st.floats(-5.0, 5.0) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=8)


def picks(
    kind: type[MaxScore | Uniform | Weighted], totals: list[float], *, most: int = 1, times: int = 1
) -> list[list[int]]:
    """What a picker answers for rows 0…n-1 with these totals, several times."""
    picker = kind("p", Most(max_num_of_endpoints=most), wiring_of(TABLE, seed=7))
    candidates = candidates_of(TABLE, range(len(totals)))
    return [picker.pick(request_with(TABLE), candidates, np.array(totals)).tolist() for _ in range(times)]


def counts_within(found: list[list[int]], expected: dict[int, float], sigmas: float = 5.0) -> bool:
    """Whether the first picks are spread as expected: each share within some standard deviations."""
    counts, total = Counter(rows[0] for rows in found), len(found)
    return counts.keys() <= expected.keys() and all(
        abs(counts[row] - total * share) <= sigmas * (total * share * (1.0 - share)) ** 0.5
        for row, share in expected.items()
    )


@settings(max_examples=60, deadline=None)
@given(TOTALS, st.integers(-1, 10), st.sampled_from(PICKERS))
def test_each_row_once_and_as_many_as_asked_for(
    totals: list[float], most: int, kind: type[MaxScore | Uniform | Weighted]
) -> None:
    (rows,) = picks(kind, totals, most=most)
    assert len(rows) == len(set(rows)) == min(max(most, 1), len(totals))
    assert set(rows) <= set(range(len(totals)))


@settings(max_examples=60, deadline=None)
@given(TOTALS, st.integers(1, 8))
def test_max_score_orders_by_total(totals: list[float], most: int) -> None:
    (rows,) = picks(MaxScore, totals, most=most)
    assert [totals[row] for row in rows] == sorted(totals, reverse=True)[:most]


@pytest.mark.parametrize("most", [1, 2])
def test_max_score_breaks_ties_evenly(most: int) -> None:
    found = picks(MaxScore, [1.0, 2.0, 2.0, 0.0, 2.0], most=most, times=3000)
    assert counts_within(found, {1: 1 / 3, 2: 1 / 3, 4: 1 / 3})


@pytest.mark.parametrize("most", [1, 3])
def test_random_goes_everywhere_evenly(most: int) -> None:
    found = picks(Uniform, [0.0, 9.0, -1.0, 1.0], most=most, times=3000)
    assert counts_within(found, dict.fromkeys(range(4), 0.25))


@pytest.mark.parametrize("most", [1, 4])
def test_weighted_random_goes_by_weight(most: int) -> None:
    found = picks(Weighted, [1.0, 2.0, 0.0, 5.0, -3.0], most=most, times=3000)
    assert counts_within(found, {0: 1 / 8, 1: 2 / 8, 3: 5 / 8})


def test_weighted_random_draws_the_second_from_the_rest() -> None:
    found = picks(Weighted, [1.0, 2.0, 5.0], most=2, times=4000)
    after = [rows[1:] for rows in found if rows[0] == 2]
    assert counts_within(after, {0: 1 / 3, 1: 2 / 3})


def test_weighted_random_without_weights_is_even_and_zeros_come_last() -> None:
    assert counts_within(picks(Weighted, [0.0, -1.0, 0.0], times=3000), dict.fromkeys(range(3), 1 / 3))
    found = picks(Weighted, [0.0, 1e-300, 0.0], most=3, times=1000)
    assert {rows[0] for rows in found} == {1}
    assert counts_within([rows[1:] for rows in found], {0: 0.5, 2: 0.5})


@pytest.mark.parametrize("kind", PICKERS)
@pytest.mark.parametrize("most", [1, 3])
def test_a_seed_repeats_the_choices(kind: type[MaxScore | Uniform | Weighted], most: int) -> None:
    totals = [1.0] * 8
    first = picks(kind, totals, most=most, times=20)
    assert first == picks(kind, totals, most=most, times=20)
    assert len({tuple(rows) for rows in first}) > 1


def test_rows_are_those_of_the_table() -> None:
    picker = MaxScore("p", Most(), wiring_of(TABLE))
    rows = picker.pick(request_with(TABLE), candidates_of(TABLE, [3, 6]), np.array([0.0, 1.0]))
    assert rows.tolist() == [6]
