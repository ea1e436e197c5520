import json
import math
from typing import Any

import pytest

from bench.fleet.outcome import Objective
from bench.load.record import Course, Record, summary
from bench.load.show import facts, times, troubles
from bench.load.stream import Answer, Flaw, Kind
from endpoint_picker.core.request import Usage
from tests.fakes.virtual import request


def record(
    due: float, ttft: float = 0.5, gap: float = 0.01, *, cached: int | None = 40, **more: Any
) -> Record:
    """Of 100 tokens, five of them generated; sent a millisecond late."""
    sent = 1000.0 + due + 0.001
    first = sent + ttft
    answer = Answer(
        sent,
        first,
        first + 4 * gap,
        first + 4 * gap,
        more.pop("status", 200),
        [gap] * 4,
        usage=Usage(100, 5, cached),
        **more,
    )
    return Record.of(request(100, 5), answer, due, 1000.0)


def failed(due: float, kind: Kind, status: int = 0) -> Record:
    answer = Answer(1000.0 + due, ended=1000.0 + due + 1.0, status=status, flaw=Flaw(kind, f"why {kind}"))
    return Record.of(request(100, 5), answer, due, 1000.0)


COURSE = Course(planned=10, most_in_flight=3, objective=Objective(ttft=1.0, tpot=0.05))


def test_figures_of_those_that_were_served() -> None:
    figures = summary([record(0.0), record(1.0, 0.7), record(2.0, 1.5), record(3.0, 0.5, 0.06)], COURSE)
    assert figures["ttft"]["mean"] == pytest.approx(0.8)
    assert figures["ttft"]["p50"] == pytest.approx(0.6)
    assert figures["tpot"]["mean"] == pytest.approx(0.0225)
    assert figures["itl"]["p50"] == pytest.approx(0.01, rel=0.01)
    assert figures["itl"]["p99"] == pytest.approx(0.06, rel=0.01)
    assert figures["goodput"] == 0.5
    assert figures["lateness"]["max"] == pytest.approx(0.001, abs=1e-6)
    assert figures["tokens"] | {"output_per_s": 0} == {
        "planned_prompt": 400,
        "prompt": 400,
        "cached": 160,
        "hit_rate": 0.4,
        "output": 20,
        "output_per_s": 0,
    }
    assert figures["seconds"] == pytest.approx(3.0 + 0.001 + 0.5 + 0.24)
    assert figures["requests"] | {"planned": 10, "served": 4, "most_in_flight": 3} == figures["requests"]


def test_who_failed_has_no_latency_and_misses_the_objective() -> None:
    records = [
        record(0.0),
        failed(0.1, Kind.STATUS, 503),
        failed(0.2, Kind.UNSENT),
        failed(0.3, Kind.STATUS, 429),
    ]
    figures = summary(records, COURSE)
    assert figures["goodput"] == 0.25
    assert figures["ttft"]["p99"] == pytest.approx(0.5)
    assert figures["errors"] == {"HTTP status": 2, "not sent": 1}
    assert figures["statuses"] == {"200": 1, "429": 1, "503": 1}
    assert figures["complaints"] == {"why HTTP status": 2, "why not sent": 1}


def test_the_warm_up_does_not_count() -> None:
    course = Course(planned=3, most_in_flight=1, warmup=5.0)
    figures = summary([failed(0.0, Kind.TIMEOUT), record(4.0, 9.0), record(6.0)], course)
    assert (figures["requests"]["ended"], figures["requests"]["counted"]) == (3, 1)
    assert figures["errors"] == {}
    assert figures["ttft"]["mean"] == pytest.approx(0.5)
    assert figures["seconds"] == pytest.approx(6.0 - 5.0 + 0.001 + 0.5 + 0.04)


def test_a_server_that_counts_nothing_is_believed_to_say_nothing() -> None:
    figures = summary([record(0.0, cached=None)], COURSE)
    assert figures["tokens"]["hit_rate"] is None
    assert "- from caches" in "".join(facts(figures, "quick"))


@pytest.mark.parametrize("records", [[], [failed(0.0, Kind.CONNECTION)]])
def test_no_figure_is_none(records: list[Record]) -> None:
    figures = summary(records, COURSE)
    assert figures["ttft"] == {"mean": None, "p50": None, "p90": None, "p99": None}
    assert figures["served_per_s"] is None
    json.dumps(figures, allow_nan=False)
    assert times("none", figures).row_count == 5
    assert list(facts(figures, "quick"))


def test_troubles_are_told() -> None:
    late = [Record.of(request(9, 1), Answer(1001.0, first=1001.1, last=1001.1, ended=1001.1), 0.0, 1000.0)]
    figures = summary([*late, failed(0.0, Kind.BROKEN)], Course(planned=9, most_in_flight=1, cut_off=4))
    told = " ".join(troubles(figures))
    assert "1 times stream broken off" in told
    assert "4 requests were under way" in told
    assert "ms late (p99)" in told
    assert not list(troubles(summary([record(0.0)], COURSE)))


def test_one_token_has_no_time_between() -> None:
    lone = Record.of(request(9, 1), Answer(0.0, first=0.1, last=0.1, ended=0.1), 0.0, 0.0)
    assert lone.tpot == 0.0
    assert not math.isnan(lone.ttft)
    assert lone.within(Objective())
