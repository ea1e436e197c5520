import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges, join_host_port


def replica(number: int, port: int = 8000, **labels: str) -> Endpoint:
    return Endpoint(f"pod{number}", f"10.0.0.{number}", port, labels=labels)


def table_of(count: int) -> EndpointTable:
    table = EndpointTable(stale_after=2.0)
    table.replace([replica(number) for number in range(count)])
    return table


def test_an_ipv6_address_is_bracketed_on_the_wire() -> None:
    assert Endpoint("a", "fd00::1", 8000).host_port == "[fd00::1]:8000"
    assert join_host_port("10.0.0.1", 80) == "10.0.0.1:80"


def test_an_endpoint_that_stays_keeps_its_row_and_what_is_known_of_it() -> None:
    table = table_of(3)
    row = table.row_of("default/pod1")
    assert row is not None
    table.observe(row, Gauges(waiting=4.0), 10.0)
    change = table.replace([replica(1, role="decode"), replica(7)])
    assert {endpoint.name for endpoint in change.removed} == {"pod0", "pod2"}
    assert [endpoint.name for endpoint in change.added] == ["pod7"]
    assert table.row_of("default/pod1") == row
    assert table.waiting[row] == 4.0
    assert table[row].labels == {"role": "decode"}


def test_a_reused_row_has_a_new_generation_and_no_memory() -> None:
    table = table_of(1)
    table.observe(0, Gauges(waiting=4.0, lora_running=frozenset({"a"})), 10.0)
    before = table.generation[0]
    table.replace([replica(5)])
    assert table.row_of("default/pod5") == 0
    assert table.generation[0] > before
    assert math.isnan(table.waiting[0])
    assert table.updated_at[0] == -math.inf
    assert table.lora_running[0] == frozenset()


def test_an_endpoint_that_moved_to_another_port_is_another_replica() -> None:
    table = table_of(1)
    change = table.replace([replica(0, port=9000)])
    assert len(change.removed) == len(change.added) == 1


def test_the_version_changes_with_membership_and_labels_only() -> None:
    table = table_of(2)
    version = table.version
    table.replace([replica(0), replica(1)])
    assert table.version == version
    table.replace([replica(0), replica(1, zone="b")])
    assert table.version == version + 1


def test_endpoints_are_found_by_ip_and_by_ip_and_port() -> None:
    table = EndpointTable()
    table.replace([Endpoint("a", "10.0.0.1", 1), Endpoint("b", "10.0.0.1", 2), Endpoint("c", "::1", 1)])
    assert len(table.rows_at("10.0.0.1")) == 2
    assert [table[row].name for row in table.rows_at("10.0.0.1:2")] == ["b"]
    assert [table[row].name for row in table.rows_at("[::1]:1")] == ["c"]
    assert table.rows_at("10.0.0.9:1") == ()


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 60)), max_size=8))
def test_the_table_holds_exactly_the_last_list(lists: list[set[int]]) -> None:
    table = EndpointTable(capacity=2)
    for numbers in lists:
        table.replace([replica(number) for number in numbers])
        assert {endpoint.name for endpoint in table} == {f"pod{number}" for number in numbers}
        assert len(table) == len(numbers) == len(table.live)
        assert all(table.generation[table.live] % 2 == 1)
        assert len(table.waiting) == len(table.generation) == table.capacity


def test_a_fresh_reading_is_taken_as_it_is() -> None:
    table = table_of(2)
    table.observe(0, Gauges(waiting=3.0, kv_usage=0.25, running=1.0), 10.0)
    table.observe(1, Gauges(waiting=0.0, kv_usage=0.75, running=2.0), 10.0)
    candidates = table.candidates(11.0)
    assert candidates.waiting().tolist() == [3.0, 0.0]
    assert candidates.kv_usage().tolist() == [0.25, 0.75]
    assert candidates.running().tolist() == [1.0, 2.0]


def test_a_replica_never_read_is_not_idle() -> None:
    table = table_of(2)
    table.observe(0, Gauges(waiting=0.0, running=0.0, kv_usage=0.0), 10.0)
    candidates = table.candidates(10.0)
    for gauge in (candidates.waiting(), candidates.running(), candidates.kv_usage()):
        assert gauge[1] > gauge[0]


def test_a_replica_never_read_is_not_worse_than_the_average() -> None:
    table = table_of(3)
    table.observe(0, Gauges(waiting=10.0), 10.0)
    table.observe(1, Gauges(waiting=30.0), 10.0)
    assert table.candidates(10.0).waiting().tolist() == [10.0, 30.0, 20.0]


def test_a_replica_never_read_gets_its_share_of_what_others_are_loaded_with() -> None:
    table = table_of(3)
    for row, waiting in enumerate((10.0, 30.0)):
        table.observe(row, Gauges(waiting=waiting, running=5.0, kv_usage=0.2 + 0.6 * row), 10.0)
        table.in_flight[row] = 10 + row
    table.in_flight[2] = 9
    candidates = table.candidates(10.0)
    assert candidates.waiting()[2] == 10.0
    assert candidates.kv_usage()[2] == 0.2
    table.in_flight[2] = 10
    assert candidates.waiting()[2] == 20.0
    assert candidates.running()[2] == 11.0
    assert candidates.kv_usage()[2] == 0.5


@pytest.mark.parametrize("now", [12.0, 1000.0])
def test_without_telemetry_the_ledger_decides(now: float) -> None:
    table = table_of(2)
    for row in (0, 1):
        table.observe(row, Gauges(waiting=float(5 * row), kv_usage=0.1 * row), 10.0)
    table.in_flight[0] = 4
    candidates = table.candidates(now)
    assert candidates.waiting().tolist() == [5.0, 1.0]
    assert candidates.kv_usage().tolist() == [0.5, 0.5]


def test_a_reading_that_nobody_follows_up_ends_its_time_for_all_and_for_some() -> None:
    table = table_of(3)
    for row in range(3):
        table.observe(row, Gauges(waiting=10.0 * row), 10.0 + row)
    for now, everybody, some in (
        (11.9, [0.0, 10.0, 20.0], [0.0, 20.0]),
        (12.5, [15.0, 10.0, 20.0], [20.0, 20.0]),
        (13.5, [20.0, 20.0, 20.0], [20.0, 20.0]),
        (99.0, [1.0, 1.0, 1.0], [1.0, 1.0]),
    ):
        candidates = table.candidates(now)
        assert candidates.waiting().tolist() == everybody
        assert candidates.where(np.array([True, False, True])).waiting().tolist() == some


def test_who_comes_to_a_pool_whose_readings_all_count_is_still_unseen() -> None:
    table = table_of(2)
    for row in (0, 1):
        table.observe(row, Gauges(waiting=4.0), 10.0)
    assert table.candidates(10.0).waiting().tolist() == [4.0, 4.0]
    table.replace([replica(number) for number in range(3)])
    table.waiting[2] = 0.0
    assert table.candidates(10.0).waiting().tolist() == [4.0, 4.0, 4.0]


def test_one_gauge_can_be_unknown_while_others_count() -> None:
    table = table_of(2)
    table.observe(0, Gauges(waiting=2.0, kv_usage=math.nan), 10.0)
    table.observe(1, Gauges(waiting=4.0, kv_usage=0.9), 10.0)
    candidates = table.candidates(10.0)
    assert candidates.waiting().tolist() == [2.0, 4.0]
    assert candidates.kv_usage().tolist() == [0.9, 0.9]


def test_a_mask_keeps_the_row_order() -> None:
    table = table_of(4)
    candidates = table.candidates(0.0)
    assert candidates.where(np.array([True] * 4)) is candidates
    kept = candidates.where(np.array([False, True, False, True]))
    assert [endpoint.name for endpoint in kept] == ["pod1", "pod3"]
    assert len(kept) == 2
    nobody = kept.where(np.array([False, False]))
    assert len(nobody) == len(nobody.where(np.array([], bool))) == 0


def test_candidates_hold_the_rows_that_no_mask_took() -> None:
    table = table_of(5)
    table.replace([replica(number) for number in (0, 2, 3, 4)])
    everybody = table.candidates(0.0)
    some = everybody.where(np.array([False, True, False, True]))
    rows = range(-20, 20)
    assert [row for row in rows if everybody.holds(row)] == [0, 2, 3, 4]
    assert [row for row in rows if some.holds(row)] == [2, 4]
    assert not some.where(np.array([False, False])).holds(2)


def test_a_further_fact_is_forgotten_with_its_endpoint_and_grows_with_the_table() -> None:
    table = EndpointTable(capacity=1)
    table.replace([Endpoint("a", "10.0.0.1", 1)])
    table.set_scalar(0, "GPUUtilization", "dcgm-extractor", 0.5)
    table.replace([Endpoint("a", "10.0.0.1", 1), Endpoint("b", "10.0.0.2", 1)])
    for producer in ("dcgm-extractor", ""):
        values = table.scalar("GPUUtilization", producer)
        assert values is not None
        assert values[table.row_of("default/a")] == 0.5
        assert np.isnan(values[table.row_of("default/b")])
    table.replace([Endpoint("c", "10.0.0.3", 1)])
    values = table.scalar("GPUUtilization", "")
    assert values is not None
    assert np.isnan(values[table.live]).all()
    assert table.scalar("GPUUtilization", "another") is None
