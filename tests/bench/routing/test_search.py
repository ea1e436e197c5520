"""The search finds where a hand-made curve falls below the target."""

import pytest

from bench.routing.search import Found, highest


async def sought(capacity: float, *, guess: float, step: float = 1.5, tolerance: float = 0.05) -> Found:
    async def share(rate: float) -> float:
        return 1.0 if rate <= capacity else 0.0

    return await highest(share, 0.9, guess=guess, step=step, tolerance=tolerance)


@pytest.mark.parametrize("guess", [1.0, 9.0, 10.0, 11.0, 100.0])
async def test_the_highest_load_is_found_from_below_and_from_above(guess: float) -> None:
    found = await sought(10.0, guess=guess)
    assert found.rate == pytest.approx(10.0, rel=0.05)
    assert found.bounded


async def test_a_straight_line_is_met_where_it_crosses() -> None:
    async def share(rate: float) -> float:
        return 1.0 - rate / 100.0

    found = await highest(share, 0.9, guess=4.0, step=2.0, tolerance=0.5)
    assert found.rate == pytest.approx(10.0)


async def test_a_good_guess_saves_runs() -> None:
    near = await sought(10.0, guess=9.5, step=1.15)
    far = await sought(10.0, guess=1.0)
    assert near.runs <= 5 < far.runs


async def test_what_bears_no_load_has_no_capacity() -> None:
    assert (await sought(0.0, guess=10.0)).rate == 0.0


async def test_what_bears_every_load_has_no_bound() -> None:
    found = await sought(1e9, guess=10.0)
    assert not found.bounded
    assert found.rate > 60.0
