"""What is worked out from labels: once for each version of the table, and for the right rows."""

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.labels import ABSENT, ByVersion, mask_of, numbered
from tests.fakes.pool import endpoint, table_of


def test_a_value_is_worked_out_once_for_each_version_and_table() -> None:
    asked: list[EndpointTable] = []

    def work_out(table: EndpointTable) -> int:
        asked.append(table)
        return len(table)

    sizes, one, other = ByVersion(work_out), table_of((), [{}, {}]), table_of((), [{}])
    assert [sizes.of(one), sizes.of(one), sizes.of(other)] == [2, 2, 1]
    assert asked == [one, other]
    other.replace([endpoint(0), endpoint(1), endpoint(2)])
    assert sizes.of(other) == 3


def test_a_mask_is_as_long_as_the_table_and_true_for_endpoints_that_match() -> None:
    table = table_of((), [{"a": "1"}, {}, {"a": "1"}])
    mask = mask_of(lambda labels: "a" in labels).of(table)
    assert mask.tolist() == [True, False, True, False]


def test_equal_values_have_equal_numbers_and_no_value_has_none() -> None:
    table = table_of((), [{"a": "x"}, {"a": "y"}, {}, {"a": ""}, {"a": "x"}])
    values = numbered("a").of(table)
    assert values.rows[:5].tolist() == [0, 1, ABSENT, ABSENT, 0]
    assert (values.rows[5:] == ABSENT).all()
    assert (values.number("x"), values.number("y")) == (0, 1)


def test_a_value_that_nobody_has_is_equal_to_no_rows() -> None:
    values = numbered("a").of(table_of((), [{"a": "x"}, {}]))
    for nobodys in ("z", ""):
        assert not (values.rows == values.number(nobodys)).any()
