"""The scheduling cycle and its counters, with the handler that runs the only profile."""

import pytest

from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.core.errors import ResourceExhausted
from endpoint_picker.plugin import Wiring
from endpoint_picker.scheduling.handler import Single
from endpoint_picker.scheduling.pickers import MaxScore, Most
from endpoint_picker.scheduling.profile import Picking, Scoring, WeightedProfile
from endpoint_picker.scheduling.scheduler import Scheduler
from endpoint_picker.scheduling.scorers.load import Queue
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

TABLE = table_of([Gauges(waiting=3), Gauges(waiting=1), Gauges(waiting=2)])


def scheduler_of(wiring: Wiring) -> Scheduler:
    profile = WeightedProfile(
        "only",
        wiring,
        scorers=[Scoring("q", "queue-scorer", Queue("q", None, wiring))],
        picker=Picking("best", "max-score-picker", MaxScore("best", Most(max_num_of_endpoints=2), wiring)),
    )
    return Scheduler(Single("single", None, wiring), [profile], wiring)


def samples(wiring: Wiring, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in wiring.metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    ]


def test_the_only_profile_decides() -> None:
    wiring = wiring_of(TABLE)
    decision = scheduler_of(wiring).schedule(request_with(TABLE), candidates_of(TABLE))
    assert decision.row == 1
    assert decision.destination == "10.0.0.1:8000,10.0.0.2:8000"
    assert decision.results == {"only": decision.primary}


def test_a_cycle_is_counted_with_its_endpoint() -> None:
    wiring = wiring_of(TABLE)
    scheduler_of(wiring).schedule(request_with(TABLE, model="llama"), candidates_of(TABLE))
    ((labels, count),) = samples(wiring, "llm_d_epp_scheduler_attempts_total")
    assert count == 1
    assert labels["status"] == "success"
    assert (labels["target_model_name"], labels["endpoint_name"]) == ("llama", "pod-1")
    assert samples(wiring, "llm_d_epp_scheduler_e2e_duration_seconds_count") == [({}, 1)]


def test_a_refusal_is_counted_and_goes_on() -> None:
    wiring = wiring_of(TABLE)
    with pytest.raises(ResourceExhausted):
        scheduler_of(wiring).schedule(request_with(TABLE), candidates_of(TABLE, []))
    ((labels, _),) = samples(wiring, "llm_d_epp_scheduler_attempts_total")
    assert labels["status"] == "failure"
    assert samples(wiring, "llm_d_epp_scheduler_e2e_duration_seconds_count") == [({}, 1)]
