import pytest

from endpoint_picker.core import ranks
from endpoint_picker.core.endpoints import Endpoint, EndpointTable


def split(pod: int, rank: int, start_rank: int = 0) -> Endpoint:
    """A rank of a pod whose ranks share port 8000."""
    name, address = f"pod{pod}-rank-{rank}", f"10.0.0.{pod}"
    return Endpoint(name, address, 8000, pod=f"pod{pod}", rank=rank, start_rank=start_rank, split=True)


def alone(pod: int) -> Endpoint:
    return Endpoint(f"pod{pod}", f"10.0.0.{pod}", 8000)


# === an endpoint ===


def test_an_endpoint_that_is_no_rank_is_its_own_pod() -> None:
    endpoint = alone(1)
    assert (endpoint.pod, endpoint.rank, endpoint.global_rank, endpoint.fields) == ("pod1", None, None, ())


def test_a_rank_with_a_port_of_its_own_needs_no_header() -> None:
    endpoint = Endpoint("pod1-rank-3", "10.0.0.1", 8003, pod="pod1", rank=3, start_rank=8)
    assert (endpoint.pod, endpoint.global_rank, endpoint.fields) == ("pod1", 11, ())


def test_a_rank_behind_a_shared_port_is_named_by_its_place_there() -> None:
    endpoint = split(1, 3, start_rank=8)
    assert endpoint.global_rank == 11
    assert endpoint.fields == (("x-data-parallel-rank", "3"),)


# === the table ===


def test_ranks_of_one_address_are_rows_of_their_own_and_found_together() -> None:
    table = EndpointTable()
    table.replace([split(1, 0), split(1, 1), split(2, 0)])
    assert [table[row].name for row in table.rows_at("10.0.0.1")] == ["pod1-rank-0", "pod1-rank-1"]
    assert [table[row].name for row in table.rows_at("10.0.0.1:8000")] == ["pod1-rank-0", "pod1-rank-1"]


def test_ranks_that_stay_keep_their_rows() -> None:
    table = EndpointTable()
    table.replace(split(1, rank) for rank in range(4))
    table.waiting[table.live] = [10, 11, 12, 13]
    before = {endpoint.rank: table.row_of(endpoint.id) for endpoint in table}
    change = table.replace([split(1, 1), split(1, 3), split(1, 4)])
    assert [endpoint.rank for endpoint in change.removed] == [0, 2]
    assert [endpoint.rank for endpoint in change.added] == [4]
    for rank in (1, 3):
        row = table.row_of(f"default/pod1-rank-{rank}")
        assert row == before[rank]
        assert row is not None
        assert table.waiting[row] == 10 + rank


def test_an_endpoint_that_is_as_it_was_stays_the_same_object() -> None:
    table = EndpointTable()
    table.replace([split(1, 0), alone(2)])
    first, version = table[0], table.version
    table.replace([split(1, 0), alone(2)])
    assert table[0] is first
    assert table.version == version
    table.replace([split(1, 0, start_rank=4), alone(2)])
    assert table[0].global_rank == 4
    assert table.version == version + 1


# === where a request may go ===


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([alone(1), alone(2)], ["10.0.0.1:8000", "10.0.0.2:8000"]),
        ([split(1, 2)], ["10.0.0.1:8000"]),
        ([split(1, 2), split(1, 3), split(2, 2)], ["10.0.0.1:8000", "10.0.0.2:8000"]),
        ([split(1, 2), split(2, 3), alone(3)], ["10.0.0.1:8000"]),
        # Without a header the ranks of another pod balance by themselves.
        ([alone(3), split(1, 0), split(1, 1)], ["10.0.0.3:8000", "10.0.0.1:8000"]),
    ],
)
def test_a_second_choice_must_understand_the_header_of_the_first(
    endpoints: list[Endpoint], expected: list[str]
) -> None:
    assert list(ranks.alternatives(endpoints)) == expected


# === who served it ===


def test_the_header_tells_which_rank_of_an_address_serves() -> None:
    table = EndpointTable()
    table.replace([alone(3), *(split(pod, rank) for pod in (1, 2) for rank in range(4))])
    row = ranks.serving(table, "10.0.0.2:8000", split(1, 2))
    assert row is not None
    assert table[row].name == "pod2-rank-2"
    assert ranks.serving(table, "10.0.0.3:8000", split(1, 2)) == table.row_of("default/pod3")
    assert ranks.serving(table, "10.0.0.2:8000", alone(3)) == table.row_of("default/pod2-rank-0")
    assert ranks.serving(table, "10.0.0.9:8000", alone(3)) is None
