"""The filter of the conformance tests: who is listed, by address or by address and port."""

import pytest

from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.scheduling.filters.testing import HeaderBasedTesting
from tests.fakes.pool import candidates_of, request_with, wiring_of

PLACES = [("10.0.0.1", 8000), ("10.0.0.1", 8001), ("10.0.0.2", 8000), ("fd00::1", 8000)]


def kept(selection: str | None, rows: list[int] | None = None) -> list[int]:
    table = EndpointTable()
    table.replace(Endpoint(f"p{i}", address, port) for i, (address, port) in enumerate(PLACES))
    request = request_with(table)
    request.headers = {} if selection is None else {"test-epp-endpoint-selection": selection}
    candidates = candidates_of(table, rows)
    mask = HeaderBasedTesting("t", None, wiring_of(table)).keep(request, candidates)
    assert mask.dtype == bool
    return [int(row) for row in candidates.rows[mask]]


@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        ("10.0.0.2", [2]),
        ("10.0.0.2:8000", [2]),
        ("10.0.0.2:9000", []),
        ("10.0.0.1:8001", [1]),
        ("10.0.0.1", [0]),  # one endpoint for each address
        ("10.0.0.1:8001, 10.0.0.1:8000", [1]),  # the first that is listed
        (" 10.0.0.2 ,10.0.0.1", [0, 2]),
        ("fd00::1", [3]),
        ("[fd00::1]", [3]),
        ("[fd00::1]:8000", [3]),
        ("256.256.256.256", []),
        ("10.0.0.2,nonsense,,", [2]),
        ("", []),
        ("  ", []),
        (None, []),
    ],
)
def test_who_is_listed_stays(selection: str | None, rows: list[int]) -> None:
    assert kept(selection) == rows


def test_only_candidates_are_chosen_from() -> None:
    assert kept("10.0.0.1", [1, 2]) == [1]
    assert kept("10.0.0.2", [0, 1]) == []
