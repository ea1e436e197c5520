import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges
from endpoint_picker.core.ledger import Ledger


def table_of(count: int) -> EndpointTable:
    table = EndpointTable()
    table.replace([Endpoint(f"pod{number}", f"10.0.0.{number}", 8000) for number in range(count)])
    return table


def books(table: EndpointTable) -> list[list[int]]:
    live = table.live
    columns = (table.in_flight, table.in_flight_tokens, table.prefill_tokens)
    return [column[live].tolist() for column in columns]


def test_a_reservation_is_charged_at_once_and_released_once() -> None:
    table = table_of(1)
    ledger = Ledger(table)
    reservation = ledger.reserve(0, prefill_tokens=100, output_tokens=20)
    assert books(table) == [[1], [120], [100]]
    reservation.first_token()
    reservation.first_token()
    assert books(table) == [[1], [120], [0]]
    reservation.release()
    reservation.release()
    assert books(table) == [[0], [0], [0]]
    assert ledger.open == 0


def test_a_broken_stream_releases_the_prefill_too() -> None:
    table = table_of(1)
    Ledger(table).reserve(0, prefill_tokens=100).release()
    assert books(table) == [[0], [0], [0]]


def test_the_charge_follows_the_request_to_another_endpoint() -> None:
    table = table_of(2)
    reservation = Ledger(table).reserve(0, prefill_tokens=10)
    reservation.move(1)
    assert books(table) == [[0, 1], [0, 10], [0, 10]]
    assert reservation.endpoint.name == "pod1"
    reservation.first_token()
    reservation.release()
    assert books(table) == [[0, 0], [0, 0], [0, 0]]


def test_an_endpoint_in_a_reused_row_does_not_inherit_the_release() -> None:
    table = table_of(1)
    ledger = Ledger(table)
    old = ledger.reserve(0, prefill_tokens=10)
    table.replace([Endpoint("new", "10.0.0.9", 8000)])
    assert not old.valid
    new = ledger.reserve(0, prefill_tokens=7)
    old.first_token()
    old.release()
    assert books(table) == [[1], [7], [7]]
    new.release()
    assert books(table) == [[0], [0], [0]]
    assert ledger.open == 0


def test_a_pick_counts_as_load_until_a_reading_shows_it() -> None:
    table = table_of(2)
    for row in (0, 1):
        table.observe(row, Gauges(waiting=1.0, running=2.0), 10.0)
    reservation = Ledger(table).reserve(0, prefill_tokens=10)
    assert table.candidates(10.0).waiting().tolist() == [2.0, 1.0]
    assert table.candidates(10.0).running().tolist() == [3.0, 2.0]
    table.observe(0, Gauges(waiting=1.0, running=3.0), 10.2)
    assert table.candidates(10.2).waiting().tolist() == [1.0, 1.0]
    reservation.release()
    assert table.candidates(10.2).waiting().tolist() == [1.0, 1.0]


def test_a_pick_that_has_its_first_token_waits_no_longer() -> None:
    table = table_of(1)
    table.observe(0, Gauges(waiting=0.0), 10.0)
    reservation = Ledger(table).reserve(0, prefill_tokens=10)
    reservation.first_token()
    assert table.candidates(10.0).waiting().tolist() == [0.0]
    reservation.release()
    assert table.candidates(10.0).waiting().tolist() == [0.0]


@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "token", "move", "release", "read"]), st.integers(0, 9)),
        max_size=60,
    )
)
def test_the_books_never_go_below_zero_and_end_at_zero(steps: list[tuple[str, int]]) -> None:
    table = table_of(3)
    ledger = Ledger(table)
    reservations = [ledger.reserve(0, prefill_tokens=5)]
    for step, number in steps:
        reservation = reservations[number % len(reservations)]
        match step:
            case "reserve":
                reservations.append(ledger.reserve(number % 3, prefill_tokens=number, output_tokens=number))
            case "token":
                reservation.first_token()
            case "move":
                reservation.move(number % 3)
            case "release":
                reservation.release()
            case "read":
                table.observe(number % 3, Gauges(waiting=0.0), 1.0)
        assert min(value for column in books(table) for value in column) >= 0
        assert (table.unread >= 0).all()
        assert (table.unread <= table.in_flight).all()
        assert table.in_flight.sum() == ledger.open
    for reservation in reservations:
        reservation.release()
    assert books(table) == [[0] * 3] * 3
    assert not table.unread.any()


def test_whole_prompts_are_held_to_the_end_and_first_tokens_waited_for() -> None:
    table = table_of(2)
    ledger = Ledger(table)
    computing = ledger.reserve(0, prefill_tokens=30, prompt_tokens=100)
    decoding = ledger.reserve(1, prefill_tokens=0, prompt_tokens=100, computes=False)
    assert (table.prompt_tokens[:2].tolist(), table.pending[:2].tolist()) == ([100, 100], [1, 0])
    assert (computing.computing, decoding.computing) == (True, False)
    computing.first_token()
    decoding.first_token()
    assert (table.prompt_tokens[:2].tolist(), table.pending[:2].tolist()) == ([100, 100], [0, 0])
    computing.release()
    decoding.release()
    assert (table.prompt_tokens[:2].tolist(), table.pending[:2].tolist()) == ([0, 0], [0, 0])


def test_what_a_reading_shows_beyond_our_own_requests_is_somebody_elses() -> None:
    table = table_of(3)
    Ledger(table).reserve(0, prefill_tokens=1)
    for row, (waiting, running) in enumerate([(2.0, 3.0), (0.0, 0.0), (float("nan"), 9.0)]):
        table.observe(row, Gauges(waiting=waiting, running=running), 1.0)
    assert table.others[:3].tolist() == [4.0, 0.0, 0.0]


def test_a_single_reading_does_not_move_what_is_thought_of_others() -> None:
    """All pickers see it, and would run to whoever it shows idle; after a while it counts."""
    table = table_of(1)
    for tenth in range(100):
        table.observe(0, Gauges(waiting=2.0, running=8.0), tenth / 10.0)
    table.observe(0, Gauges(waiting=0.0, running=0.0), 10.0)
    assert table.others[0] == pytest.approx(9.67, abs=0.01)
    table.observe(0, Gauges(waiting=0.0, running=0.0), 40.0)
    assert table.others[0] == pytest.approx(0.0, abs=0.01)


def test_what_a_reading_misses_is_made_up_for_by_what_another_one_shows_too_much() -> None:
    """Ten of our own, of which every other reading misses the five newest, or still shows five that ended."""
    table = table_of(1)
    ledger = Ledger(table)
    for _ in range(10):
        ledger.reserve(0, prefill_tokens=1)
    for tenth in range(400):
        table.observe(0, Gauges(waiting=0.0, running=5.0 if tenth % 2 else 15.0), tenth / 10.0)
    assert table.others[0] < 0.2
