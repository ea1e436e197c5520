from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.adapters import Adapters

ROWS = 4
NAMES = st.frozensets(st.sampled_from("abc"), max_size=3)


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), NAMES), max_size=20))
def test_asked_by_adapter_it_says_what_was_told_by_row(told: list[tuple[int, frozenset[str]]]) -> None:
    adapters, model = Adapters(2), [frozenset[str]()] * ROWS
    adapters.grow(ROWS - 2)
    for row, names in told:
        adapters[row] = model[row] = names
        assert adapters.counts.tolist() == [len(each) for each in model]
        for name in "abc":
            assert adapters.have(name).tolist() == [name in each for each in model]
    assert [adapters[row] for row in range(ROWS)] == model
