"""Intervals are those of Student's t, reckoned by hand."""

import math

import pytest

from bench.routing.intervals import difference, interval, ratio, t


def test_mean_and_interval_are_those_of_a_textbook() -> None:
    found = interval([10.0, 12.0, 14.0])
    assert found.mean == 12.0
    # standard deviation 2, so the mean's is 2 / √3; t with 2 degrees of freedom is 4.303
    assert found.half == pytest.approx(4.303 * 2.0 / math.sqrt(3.0))


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    assert (interval([5.0]).mean, interval([5.0]).half) == (5.0, None)
    assert interval([math.nan, None]).mean is None


def test_what_is_unknown_does_not_count() -> None:
    found = interval([1.0, math.nan, 3.0])
    assert (found.mean, found.values) == (2.0, (1.0, None, 3.0))
    assert found.half == pytest.approx(12.706)


def test_pairs_cancel_what_they_have_in_common() -> None:
    ours, theirs = interval([11.0, 21.0, 31.0]), interval([10.0, 20.0, 30.0])
    assert ours.half is not None
    assert ours.half > 20.0
    found = difference(ours, theirs)
    assert (found.mean, found.half, found.sign) == (1.0, 0.0, 1)
    assert difference(theirs, ours).sign == -1


def test_ratios_are_taken_seed_by_seed() -> None:
    found = ratio(interval([2.0, 9.0, 4.0]), interval([1.0, 3.0, 0.0]))
    assert found.values == (2.0, 3.0, None)
    assert found.mean == 2.5


@pytest.mark.parametrize("values", [[1.0, -1.0, 0.5], [3.0], [0.0, 0.0]])
def test_zero_within_the_interval_says_nothing(values: list[float]) -> None:
    assert interval(values).sign == 0


@pytest.mark.parametrize(("freedom", "point"), [(1, 12.706), (2, 4.303), (40, 2.021), (120, 1.980)])
def test_points_are_those_of_the_tables(freedom: int, point: float) -> None:
    assert t(freedom) == pytest.approx(point, abs=0.005)
