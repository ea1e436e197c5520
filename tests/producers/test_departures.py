"""Departures: each row is named once."""

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.producers.departures import Departures
from tests.fakes.pool import endpoint


def test_a_row_is_named_once_when_its_endpoint_leaves_or_another_takes_its_place() -> None:
    table = EndpointTable(capacity=2)
    table.replace([endpoint(0), endpoint(1)])
    departures = Departures(table)
    assert departures.rows() == []
    table.replace([endpoint(1)])
    assert departures.rows() == [0]
    assert departures.rows() == []
    table.replace([endpoint(1), endpoint(2)])
    assert departures.rows() == []
    table.replace([endpoint(1), endpoint(3)])
    assert departures.rows() == [0]


def test_a_table_that_grows_has_lost_nobody() -> None:
    table = EndpointTable(capacity=2)
    table.replace([endpoint(0)])
    departures = Departures(table)
    table.replace([endpoint(i) for i in range(9)])
    assert departures.rows() == []
    table.replace([endpoint(i) for i in range(8)])
    assert departures.rows() == [8]


def test_new_labels_are_no_departure() -> None:
    table = EndpointTable()
    table.replace([endpoint(0)])
    departures = Departures(table)
    table.replace([endpoint(0, {"a": "b"})])
    assert departures.rows() == []
