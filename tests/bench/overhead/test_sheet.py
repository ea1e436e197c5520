"""Readings become figures: CPU for each request or event, with and without the idle share."""

import pytest

from bench.figures import Figure
from bench.overhead.course import Readings
from bench.overhead.ground import TRANSPORTS, WITHOUT
from bench.overhead.load import Outcome
from bench.overhead.sheet import figures

OURS = TRANSPORTS[0]


def outcome(cpu: float, *, requests: int = 1000, events: int = 0, p50: float = 2.0) -> Outcome:
    """Two seconds, in which the picker took so much CPU and Envoy a tenth of it."""
    return Outcome(
        seconds=2.0,
        requests=requests,
        events=events,
        errors=0,
        latency_ms={"p50": p50, "p99": 2 * p50},
        cpu={"picker": cpu, "envoy": cpu / 10},
    )


def without(p50: float) -> Outcome:
    quiet = outcome(0.5, p50=p50)
    del quiet.cpu["picker"]
    return quiet


@pytest.fixture
def found() -> dict[str, Figure]:
    readings = Readings()
    for cpu in (0.12, 0.16, 0.14):
        readings.count("closed", OURS, outcome(cpu))
        readings.count("paced", OURS, outcome(cpu, p50=3.0))
        readings.count("streams", OURS, outcome(cpu, requests=0, events=5000))
        readings.count("long_10", OURS, outcome(cpu, requests=50))
        readings.count("long_100", OURS, outcome(cpu, requests=50))
        for traffic in ("closed", "paced", "streams"):
            readings.count(traffic, WITHOUT, without(p50=1.0))
        readings.note("idle_10", OURS, 0.02)
        readings.note("idle_100", OURS, 0.11)
    return {figure.key: figure for figure in figures(readings)}


def test_cpu_is_that_of_each_request(found: dict[str, Figure]) -> None:
    assert found["small_closed"].rounds[OURS] == pytest.approx([120.0, 160.0, 140.0])
    assert found["small_closed"].met(OURS) is True
    assert found["long_100"].median(OURS) == pytest.approx(2.8)


def test_net_figures_have_no_idle_share(found: dict[str, Figure]) -> None:
    assert found["small_closed_net"].median(OURS) == pytest.approx(100.0)
    assert found["long_100_net"].median(OURS) == pytest.approx(-1.6)


def test_streams_count_by_event(found: dict[str, Figure]) -> None:
    assert found["chunk_gross"].median(OURS) == pytest.approx(28.0)
    assert found["chunk"].median(OURS) == pytest.approx(20.0)


def test_the_side_without_a_picker_has_envoy_figures_only(found: dict[str, Figure]) -> None:
    assert WITHOUT not in found["small_closed"].rounds
    assert found["envoy_small"].median(WITHOUT) == pytest.approx(50.0)


def test_added_latency_is_against_the_envoy_that_asks_nobody(found: dict[str, Figure]) -> None:
    assert found["added_p50"].rounds == {OURS: [2.0, 2.0, 2.0]}
    assert found["added_p99"].median(OURS) == pytest.approx(4.0)


def test_budgets_are_those_of_the_design(found: dict[str, Figure]) -> None:
    budgets = {key: figure.budget for key, figure in found.items() if figure.budget is not None}
    assert budgets == {
        "small_closed": 150.0,
        "small_open": 500.0,
        "chunk": 20.0,
        "long_100": 3.0,
        "idle_100": 0.10,
        "memory": 400.0,
        "start": 1.0,
    }
    assert found["idle_100"].met(OURS) is False
