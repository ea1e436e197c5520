"""What a prompt costs on many endpoints at once is what it costs on each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.attributes import PrefixMatch, UncachedTokens


@given(st.data())
def test_the_cost_on_rows_is_that_on_each_also_when_the_table_has_grown(data: st.DataObject) -> None:
    total, size = data.draw(st.integers(0, 20)), data.draw(st.integers(1, 64))
    blocks = np.array(data.draw(st.lists(st.integers(0, total + 3), min_size=1, max_size=8)), np.int64)
    tokens = data.draw(st.integers(0, 25 * size))
    cost = UncachedTokens(tokens, PrefixMatch(blocks, total, size), 0)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, 12)))), np.int64)
    assert cost.on(rows).tolist() == [cost.at(row) for row in rows.tolist()]


def test_without_a_match_all_of_it_counts() -> None:
    assert UncachedTokens(70, None, 0).on(np.arange(3)).tolist() == [70, 70, 70]
