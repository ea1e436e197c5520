"""Profiles: how totals come about, and that a failing plugin costs its own contribution only."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.decision import ProfileResult
from endpoint_picker.core.endpoints import Candidates, Gauges, Rows, Vector
from endpoint_picker.core.errors import ResourceExhausted
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Wiring
from endpoint_picker.scheduling.pickers import MaxScore, Most
from endpoint_picker.scheduling.profile import Keeping, Picking, Scoring, WeightedProfile
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

TABLE = table_of([Gauges()] * 5)
Answer = Callable[[Request, Candidates], Any]


class Says:
    """A filter, scorer and picker that answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[list[int]] = []

    def keep(self, request: Request, candidates: Candidates) -> Any:
        return self._say(candidates)

    def score(self, request: Request, candidates: Candidates) -> Any:
        return self._say(candidates)

    def pick(self, request: Request, candidates: Candidates, totals: Vector) -> Any:
        return self._say(candidates)

    def _say(self, candidates: Candidates) -> Any:
        self.seen.append(candidates.rows.tolist())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(candidates) if callable(self.answer) else self.answer


def profile_of(
    *,
    filters: Sequence[Says] = (),
    scorers: Sequence[tuple[Says, float]] = (),
    picker: Says | None = None,
    wiring: Wiring | None = None,
) -> WeightedProfile:
    wiring = wiring or wiring_of(TABLE)
    best = MaxScore("best", Most(max_num_of_endpoints=9), wiring)
    return WeightedProfile(
        "default",
        wiring,
        filters=[Keeping(f"filter-{i}", "f", keeping) for i, keeping in enumerate(filters)],
        scorers=[Scoring(f"scorer-{i}", "s", says, weight) for i, (says, weight) in enumerate(scorers)],
        picker=Picking("picker-0", "p", picker or best),
    )


def run(profile: WeightedProfile, rows: Sequence[int] | None = None) -> ProfileResult:
    return profile.run(request_with(TABLE), candidates_of(TABLE, rows))


def failures(wiring: Wiring) -> dict[tuple[str, str, str], float]:
    """What was counted, by extension point, type and name."""
    return {
        (sample.labels["extension_point"], sample.labels["plugin_type"], sample.labels["plugin_name"]): (
            sample.value
        )
        for family in wiring.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "llm_d_epp_plugin_failures_total"
    }


def test_totals_are_weighted_sums_of_clamped_scores() -> None:
    first = Says(np.array([0.0, 0.5, 2.0, -1.0, np.nan]))
    second = Says(np.array([1.0, 1.0, 0.0, np.inf, -np.inf]))
    result = run(profile_of(scorers=[(first, 2.0), (second, -0.5)]))
    assert result.totals.tolist() == [-0.5, 0.5, 2.0, -0.5, 0.0]
    assert result.rows[:3] == (2, 1, 4)
    assert [endpoint.name for endpoint in result.endpoints[:2]] == ["pod-2", "pod-1"]
    assert result.scored_rows.tolist() == [0, 1, 2, 3, 4]
    assert result.profile == "default"


@pytest.mark.parametrize(
    ("scores", "clamped"),
    [
        ([0.5, 1.5, 0.0, 1.0, 0.25], [0.5, 1.0, 0.0, 1.0, 0.25]),
        ([0.5, -1.5, 0.0, 1.0, 0.25], [0.5, 0.0, 0.0, 1.0, 0.25]),
        ([0.5, np.nan, 0.0, 1.0, 0.25], [0.5, 0.0, 0.0, 1.0, 0.25]),
        ([np.inf, -np.inf, np.nan, 1.0, 0.25], [1.0, 0.0, 0.0, 1.0, 0.25]),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_scorer_that_leaves_its_range_is_clamped_and_others_keep_theirs(
    scores: list[float], clamped: list[float], first: bool
) -> None:
    good = np.array([0.0, 1.0, 0.25, 0.5, 0.75])
    scorers = [(Says(np.array(scores)), 2.0), (Says(good), 1.0)]
    totals = run(profile_of(scorers=scorers if first else scorers[::-1])).totals
    assert totals.tolist() == (2.0 * np.array(clamped) + good).tolist()


def test_totals_are_kept_when_later_requests_are_scored() -> None:
    asked = iter([0.1, 0.2, 0.3])
    profile = profile_of(scorers=[(Says(lambda candidates: np.full(len(candidates), next(asked))), 2.0)])
    results = [run(profile), run(profile, [0, 3]), run(profile)]
    assert [result.totals.tolist() for result in results] == [[0.2] * 5, [0.4] * 2, [0.6] * 5]


def test_any_number_of_candidates_can_follow_another() -> None:
    table = table_of([Gauges()] * 100)
    profile = profile_of(scorers=[(Says(lambda candidates: candidates.rows / 100.0), 1.0)])
    for size in [*range(1, 101), *range(100, 0, -1)]:
        result = profile.run(request_with(table), candidates_of(table, range(size)))
        assert result.totals.tolist() == (np.arange(size) / 100.0).tolist()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.longdouble])
def test_scores_may_be_floats_of_any_size(kind: type[Any]) -> None:
    assert run(profile_of(scorers=[(Says(np.full(5, 0.5, kind)), 3.0)])).totals.tolist() == [1.5] * 5


def test_without_scorers_all_are_equal() -> None:
    assert run(profile_of()).totals.tolist() == [0.0] * 5


def test_a_weight_of_zero_runs_the_scorer_without_effect() -> None:
    scorer = Says(np.ones(5))
    assert run(profile_of(scorers=[(scorer, 0.0)])).totals.tolist() == [0.0] * 5
    assert scorer.seen == [[0, 1, 2, 3, 4]]


def test_equal_candidates_have_exactly_equal_totals() -> None:
    table = table_of([Gauges()] * 37)
    score = Says(lambda candidates: np.full(len(candidates), 0.1))
    profile = profile_of(scorers=[(score, 0.3), (score, 0.7), (score, 1.1)])
    result = profile.run(request_with(table), candidates_of(table))
    assert len(set(result.totals.tolist())) == 1


def test_filters_run_in_order_on_what_the_one_before_left() -> None:
    first = Says(lambda candidates: candidates.rows != 1)
    second = Says(lambda candidates: candidates.rows < 3)
    scorer = Says(lambda candidates: np.ones(len(candidates)))
    result = run(profile_of(filters=[first, second], scorers=[(scorer, 1.0)]))
    assert first.seen == [[0, 1, 2, 3, 4]]
    assert second.seen == [[0, 2, 3, 4]]
    assert scorer.seen == [[0, 2]]
    assert sorted(result.rows) == [0, 2]


def test_nobody_left_is_a_refusal_and_later_filters_are_spared() -> None:
    nobody, later = Says(lambda candidates: candidates.rows < 0), Says(np.ones(5, bool))
    with pytest.raises(ResourceExhausted, match="no endpoints available for the given request") as caught:
        run(profile_of(filters=[nobody, later]))
    assert caught.value.reason == "rejected-saturated"
    assert later.seen == []
    with pytest.raises(ResourceExhausted):
        run(profile_of(), [])


BROKEN: list[Any] = [
    RuntimeError("broken"),
    None,
    [True] * 5,
    np.ones(4, bool),
    np.ones((5, 1)),
    np.ones(5, np.int64),
    np.full(5, "x"),
    np.full(5, None),
    np.float64(1.0),
]


@pytest.mark.parametrize("answer", [*BROKEN, np.ones(5)])
def test_a_broken_filter_keeps_everybody(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    wiring = wiring_of(TABLE)
    profile = profile_of(filters=[Says(answer)], wiring=wiring)
    assert sorted(run(profile).rows) == [0, 1, 2, 3, 4]
    assert "filter filter-0 (type f) failed and keeps everybody" in caplog.text
    assert failures(wiring) == {("Filter", "f", "filter-0"): 1.0}


@pytest.mark.parametrize("answer", [*BROKEN, np.ones(5, bool)])
def test_a_broken_scorer_gives_nothing(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    good = Says(np.array([0.0, 0.0, 0.25, 0.5, 0.0]))
    wiring = wiring_of(TABLE)
    result = run(profile_of(scorers=[(Says(answer), 5.0), (good, 2.0)], wiring=wiring))
    assert result.totals.tolist() == [0.0, 0.0, 0.5, 1.0, 0.0]
    assert "scorer scorer-0 (type s) failed and gives 0 to all" in caplog.text
    assert failures(wiring) == {("Scorer", "s", "scorer-0"): 1.0}


def test_nan_loses_its_candidate_the_score_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    wiring = wiring_of(TABLE)
    good, partly = Says(np.full(5, 0.5)), Says(np.array([0.0, np.nan, 1.0, np.nan, 0.0]))
    profile = profile_of(scorers=[(good, 1.0), (partly, 2.0)], wiring=wiring)
    assert run(profile).totals.tolist() == run(profile).totals.tolist() == [0.5, 0.5, 2.5, 0.5, 0.5]
    (record,) = caplog.records
    told = (
        "scorer scorer-1 (type s) has NaN among its scores, which counts as 0; profile default, request r-1"
    )
    assert record.getMessage() == told
    assert not record.exc_info
    assert failures(wiring) == {("Scorer", "s", "scorer-1"): 2.0}


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("broken"),
        None,
        [3],
        3,
        np.array([], np.int64),
        np.array([3.0]),
        np.array([[3]]),
        np.array([9]),
        np.array([-1]),
        np.array([1]),
        np.array([3, 1]),
    ],
)
def test_a_broken_picker_falls_back_to_the_best_total(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    scorer, wiring = Says(np.array([0.0, 0.25, 0.5])), wiring_of(TABLE)
    result = run(profile_of(scorers=[(scorer, 1.0)], picker=Says(answer), wiring=wiring), [0, 2, 3])
    assert result.rows == (3,)
    assert "picker picker-0 (type p) failed and leaves the choice to the best total" in caplog.text
    assert failures(wiring) == {("Picker", "p", "picker-0"): 1.0}


def test_a_row_that_is_picked_twice_is_named_once() -> None:
    assert run(profile_of(picker=Says(np.array([3, 1, 3])))).rows == (3, 1)


def test_a_plugin_that_always_fails_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    scorers, wiring = [(Says(RuntimeError("a")), 1.0), (Says(RuntimeError("b")), 1.0)], wiring_of(TABLE)
    profile = profile_of(scorers=scorers, wiring=wiring)
    for _ in range(50):
        run(profile)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert set(failures(wiring).values()) == {50.0}
    assert all("r-1" in record.getMessage() and record.exc_info for record in errors)


def test_every_call_is_timed() -> None:
    wiring = wiring_of(TABLE)
    profile = profile_of(
        filters=[Says(np.ones(5, bool)), Says(RuntimeError())],
        scorers=[(Says(np.ones(5)), 1.0)],
        wiring=wiring,
    )
    run(profile)
    counted = {
        (sample.labels["extension_point"], sample.labels["plugin_name"]): sample.value
        for family in wiring.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "llm_d_epp_plugin_duration_seconds_count"
    }
    assert counted == {
        ("Filter", "filter-0"): 1,
        ("Filter", "filter-1"): 1,
        ("Scorer", "scorer-0"): 1,
        ("Picker", "picker-0"): 1,
    }


ARRAYS = st.one_of(
    st.lists(st.floats(), max_size=7).map(np.array),
    st.lists(st.booleans(), max_size=7).map(lambda bits: np.array(bits, bool)),
    st.lists(st.integers(-2, 9), max_size=7).map(lambda rows: np.array(rows, np.int64)),
    st.none() | st.text(max_size=3) | st.just(ValueError("x")),
)


@settings(max_examples=150, deadline=None)
@given(ARRAYS, ARRAYS, ARRAYS)
def test_whatever_plugins_answer_there_is_a_pick_or_a_refusal(keep: Any, score: Any, pick: Any) -> None:
    profile = profile_of(filters=[Says(keep)], scorers=[(Says(score), 1.0)], picker=Says(pick))
    try:
        rows: Rows = np.array(run(profile).rows)
    except ResourceExhausted:
        return
    assert len(rows)
    assert set(rows.tolist()) <= {0, 1, 2, 3, 4}
