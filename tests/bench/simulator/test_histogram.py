"""Histograms: buckets as Prometheus counts them, and text that is new after each observation."""

import pytest

from bench.simulator.histogram import FIRST_TOKEN, Histogram, tokens_up_to


def test_buckets_are_cumulative_and_bounds_belong_to_their_bucket() -> None:
    each = Histogram("h", ('a="1"', 'z="2"'), (1, 2.5))
    each.observe(1.0)
    each.observe(2.0, times=3)
    each.observe(9.0)
    assert each.render().splitlines() == [
        'h_bucket{a="1",le="1.0",z="2"} 1.0',
        'h_bucket{a="1",le="2.5",z="2"} 4.0',
        'h_bucket{a="1",le="+Inf",z="2"} 5.0',
        'h_count{a="1",z="2"} 5.0',
        'h_sum{a="1",z="2"} 16.0',
    ]


def test_an_observation_after_a_scrape_shows_in_the_next() -> None:
    each = Histogram("h", ("a", "z"), (1,))
    each.render()
    each.observe(0.5)
    assert "h_count{a,z} 1.0" in each.render()


@pytest.mark.parametrize(
    ("limit", "bounds"), [(1, (1,)), (9, (1, 2, 5)), (4096, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000))]
)
def test_token_bounds_grow_up_to_the_context_length(limit: int, bounds: tuple[int, ...]) -> None:
    assert tokens_up_to(limit) == bounds


def test_first_token_bounds_are_sorted() -> None:
    assert list(FIRST_TOKEN) == sorted(set(FIRST_TOKEN))
    assert len(FIRST_TOKEN) == 22
