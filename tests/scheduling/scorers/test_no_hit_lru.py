"""The scorer of cold requests: who comes first, who is remembered."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.request import Request
from endpoint_picker.scheduling.scorers.no_hit_lru import NoHitLru, NoHitLruParameters
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of, wiring_of


def pool(count: int, **parameters: Any) -> tuple[EndpointTable, NoHitLru]:
    table = table_of([Gauges()] * count)
    return table, NoHitLru("lru", NoHitLruParameters(**parameters), wiring_of(table))


def result(table: EndpointTable, row: int, name: str = "decode", scored: Any = None) -> ProfileResult:
    rows = table.live if scored is None else np.array(scored, np.int64)
    return ProfileResult(name, (row,), (table[row],), rows, np.zeros(len(rows)))


def use(scorer: NoHitLru, *rows: int, request: Request | None = None) -> None:
    """Send a cold request to each of these rows."""
    table = scorer.wiring.table
    for row in rows:
        decode = result(table, row)
        scorer.learn(request or request_with(table), Decision(decode, {"decode": decode}))


def scores(scorer: NoHitLru, rows: list[int] | None = None, **facts: Any) -> list[float]:
    table = scorer.wiring.table
    found: list[float] = scorer.score(request_with(table, **facts), candidates_of(table, rows)).tolist()
    return found


@pytest.mark.parametrize(
    ("used", "rows", "expected"),
    [
        # Never used: by row, 1 - i / (n - 1).
        ([], None, [1.0, 2 / 3, 1 / 3, 0.0]),
        # Row 1 was used: the others are 0th, 1st and 2nd, it is 3rd.
        ([1], None, [1.0, 0.0, 2 / 3, 1 / 3]),
        # All were used, 2 longest ago, then 0, 3, 1.
        ([2, 0, 3, 1], None, [2 / 3, 0.0, 1.0, 1 / 3]),
        # Only the latest use counts: 0 before 3 before 2; 1 never.
        ([2, 0, 3, 2], None, [2 / 3, 1.0, 0.0, 1 / 3]),
        # Of two candidates one was used: 1 - 0 / 1 and 1 - 1 / 1.
        ([3], [0, 3], [1.0, 0.0]),
        ([3], [3], [1.0]),
        ([3], [], []),
    ],
)
def test_formula(used: list[int], rows: list[int] | None, expected: list[float]) -> None:
    _, scorer = pool(4)
    use(scorer, *used)
    assert scores(scorer, rows) == pytest.approx(expected)
    assert scores(scorer, rows, match=[0, 0, 0, 0]) == pytest.approx(expected)


def test_all_are_equal_where_a_candidate_holds_a_block() -> None:
    _, scorer = pool(3)
    assert scores(scorer, match=[0, 1, 0]) == [0.5, 0.5, 0.5]
    # The one that holds it is no candidate.
    assert scores(scorer, [0, 2], match=[0, 1, 0]) == [1.0, 0.0]
    assert scores(scorer, [1], match=[0, 1, 0]) == [0.5]


def test_a_warm_request_is_no_use() -> None:
    table, scorer = pool(2)
    use(scorer, 0, request=request_with(table, match=[0, 1]))
    assert scores(scorer) == [1.0, 0.0]
    use(scorer, 0, request=request_with(table, match=[0, 0]))
    assert scores(scorer) == [0.0, 1.0]


def test_prefill_targets_are_used_too_and_each_profile_goes_by_its_own_candidates() -> None:
    table, scorer = pool(4)
    decode, prefill = result(table, 0, scored=[0, 1]), result(table, 2, "prefill", scored=[2, 3])
    other = result(table, 3, "encode")
    results = {"decode": decode, "prefill": prefill, "encode": other}
    decision = Decision(decode, results, prefill=prefill)
    scorer.learn(request_with(table), decision)
    # Never: 1, 3; then 0, then 2.
    assert scores(scorer) == pytest.approx([1 / 3, 1.0, 0.0, 2 / 3])
    # Decode is warm (row 1), prefill is not: only 2 moves, and is the newest already.
    scorer.learn(request_with(table, match=[0, 1]), decision)
    assert scores(scorer) == pytest.approx([1 / 3, 1.0, 0.0, 2 / 3])


def test_who_serves_a_cold_request_in_the_end_was_used() -> None:
    table, scorer = pool(3)
    cold, warm = request_with(table), request_with(table, match=[1])
    for request in (cold, warm):
        use(scorer, 0, request=request)
    scorer.learn_at(warm, 1)
    assert scores(scorer) == [0.0, 1.0, 0.5]
    scorer.learn_at(cold, 1)
    assert scores(scorer) == [0.5, 0.0, 1.0]


def test_no_more_endpoints_are_remembered_than_asked_for() -> None:
    _, scorer = pool(4, lru_size=2)
    use(scorer, 0, 1, 2)
    # 0 is forgotten and so never used, before 3; then 1, then 2.
    assert scores(scorer) == pytest.approx([1.0, 1 / 3, 0.0, 2 / 3])


@pytest.mark.parametrize("size", [0, -5])
def test_a_size_of_nothing_means_the_default(size: int) -> None:
    _, scorer = pool(3, lru_size=size)
    use(scorer, 0, 1)
    assert scores(scorer) == [0.5, 0.0, 1.0]


def test_another_endpoint_in_the_same_row_was_never_used() -> None:
    table, scorer = pool(3)
    use(scorer, 0, 1)
    table.replace([endpoint(1), endpoint(2)])
    table.replace([endpoint(1), endpoint(2), endpoint(7)])
    assert table[0].name == "pod-7"
    assert scores(scorer) == [1.0, 0.0, 0.5]


def test_a_pick_that_has_left_since_is_not_learned_from() -> None:
    table, scorer = pool(2)
    gone = result(table, 0)
    table.replace([endpoint(1)])
    table.replace([endpoint(1), endpoint(7)])
    scorer.learn(request_with(table), Decision(gone, {}))
    assert scores(scorer) == [1.0, 0.0]


def test_a_table_that_grows_keeps_the_order() -> None:
    table, scorer = pool(3)
    use(scorer, 0)
    table.replace([endpoint(i) for i in range(9)])
    # Eight unused ones, then row 0.
    assert scores(scorer) == pytest.approx([0.0] + [1 - i / 8 for i in range(8)])


def test_a_new_instance_goes_on_with_what_the_old_one_learned() -> None:
    table, old = pool(4)
    use(old, 0, 1, 2)
    heir = NoHitLru("lru", NoHitLruParameters(lru_size=2), wiring_of(table))
    heir.adopt(old)
    assert scores(heir) == pytest.approx([1.0, 1 / 3, 0.0, 2 / 3])
    use(heir, 3)
    assert scores(heir) == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert scores(old) == pytest.approx([2 / 3, 1 / 3, 0.0, 1.0])


def test_the_match_is_that_of_the_named_producer() -> None:
    _, scorer = pool(2, prefix_match_info_producer_name="exact", prefix_plugin_name="x")
    assert list(scorer.requires()) == [prefix_match("exact")]
    assert scores(scorer, match=[1, 1]) == [1.0, 0.0]
    _, unnamed = pool(2, prefix_match_info_producer_name="")
    assert list(unnamed.requires()) == [prefix_match()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12))
def test_whoever_is_picked_by_best_score_is_the_one_unused_for_longest(first: list[int]) -> None:
    _, scorer = pool(5)
    use(scorer, *first)
    order = []
    for _ in range(5):
        best = int(np.argmax(scores(scorer)))
        order.append(best)
        use(scorer, best)
    assert sorted(order) == list(range(5))


def test_who_has_left_takes_nobody_elses_place() -> None:
    table, scorer = pool(4, lru_size=2)
    use(scorer, 1, 0)
    table.replace([endpoint(1), endpoint(2), endpoint(3)])
    use(scorer, 2)
    # 3 never, then 1 (which is still remembered), then 2.
    assert scores(scorer) == [0.5, 0.0, 1.0]
