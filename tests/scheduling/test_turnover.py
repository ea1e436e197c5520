"""How fast caches turn over: sums that fade, by row, and what becomes of them when the pool changes."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.scheduling.turnover import ASSUMED, LATELY, Turnover
from tests.core.test_ledger import table_of

ALL = np.arange(2)


def told(*blocks: int | None) -> EndpointTable:
    """Endpoints whose caches have so many blocks of 16 tokens; None: nobody knows."""
    table = table_of(len(blocks))
    for row, count in enumerate(blocks):
        table.observe(row, Gauges(block_size=16, num_blocks=count), 0.0)
    return table


def test_it_is_a_share_of_the_room_and_fades() -> None:
    turnover = Turnover(told(1_000, 500))
    turnover.computed(0, 4_000.0, 10.0)
    turnover.computed(1, 4_000.0, 10.0)
    assert turnover.shares(ALL, 10.0).tolist() == pytest.approx([0.25, 0.5])
    assert turnover.shares(ALL, 10.0 + LATELY).tolist() == pytest.approx([0.25 / exp(1), 0.5 / exp(1)])


def test_a_cache_that_nobody_knows_is_taken_for_one_like_the_others() -> None:
    turnover = Turnover(told(1_000, None))
    turnover.computed(1, 4_000.0, 0.0)
    assert turnover.shares(ALL, 0.0).tolist() == pytest.approx([0.0, 0.25])
    turnover = Turnover(told(None, None))
    turnover.computed(1, ASSUMED / 2, 0.0)
    assert turnover.shares(ALL, 0.0).tolist() == pytest.approx([0.0, 0.5])


def test_another_endpoint_in_the_row_starts_afresh() -> None:
    table = told(1_000, 1_000)
    turnover = Turnover(table)
    turnover.computed(0, 4_000.0, 0.0)
    turnover.computed(1, 4_000.0, 0.0)
    first, second = table
    table.replace([second])
    table.replace([replace(first, port=first.port + 1), second])
    assert table.live.tolist() == [0, 1]
    assert turnover.shares(ALL, 0.0).tolist() == pytest.approx([0.0, 0.25])


def test_a_table_that_grows_keeps_what_is_known() -> None:
    table = told(1_000, 1_000)
    turnover = Turnover(table)
    turnover.computed(1, 4_000.0, 0.0)
    (first, *_) = table
    table.replace([*table, *(replace(first, name=f"more-{n}", port=9_000 + n) for n in range(40))])
    assert turnover.shares(table.live, 0.0)[:3].tolist() == pytest.approx([0.0, 0.25, 0.0])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1e6), st.floats(0, 5_000)), max_size=20),
    st.floats(0, 5_000),
)
def test_it_is_the_sum_of_all_that_faded(sent: list[tuple[int, float, float]], later: float) -> None:
    turnover, now, wanted = Turnover(told(1_000, 1_000)), 0.0, np.zeros(2)
    for row, tokens, after in sent:
        wanted *= exp(-after / LATELY)
        now += after
        turnover.computed(row, tokens, now)
        wanted[row] += tokens / 16_000
    wanted *= exp(-later / LATELY)
    assert turnover.shares(ALL, now + later) == pytest.approx(wanted, rel=1e-6, abs=1e-9)
