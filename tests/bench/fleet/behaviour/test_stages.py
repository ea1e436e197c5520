"""Prefill and decode apart: the policy chooses in each stage, and by what goes on in that one."""

from dataclasses import replace

import numpy as np
import pytest

from bench.fleet.fleet import ENGINE, FLEETS, Incident
from bench.fleet.outcome import Outcome
from tests.fakes.crowds import crowd, play

STAGES = "pd-work"
PREFILL, DECODE = (0, 2, 4, 6), (1, 3, 5, 7)


def played(*incidents: Incident) -> Outcome:
    """Four replicas compute prompts and four decode, at about half of what they can do."""
    fleet = replace(FLEETS["prefill-decode"](8, ENGINE), incidents=incidents)
    return play(fleet, crowd(20.0, 500, question=2_000, answer=100), STAGES)


def shares(rows: np.ndarray, among: tuple[int, ...]) -> list[float]:
    assert set(rows.tolist()) <= set(among)
    return [float((rows == each).mean()) for each in among]


def test_each_stage_spreads_over_its_own() -> None:
    outcome = played()
    elsewhere = outcome.prefiller[outcome.prefiller >= 0]
    assert len(elsewhere) > 450
    assert shares(elsewhere, PREFILL) == pytest.approx([0.25] * 4, abs=0.08)
    assert shares(outcome.replica, DECODE) == pytest.approx([0.25] * 4, abs=0.08)


def test_who_computes_prompts_slowly_loses_prompts_and_nobody_else_does() -> None:
    outcome = played(Incident(5.0, 2, "slows", 4.0))
    later = outcome.arrival > 8.0
    computed = outcome.prefiller[later & (outcome.prefiller >= 0)]
    assert 0.0 < float((computed == 2).mean()) < 0.14
    assert shares(outcome.replica[later], DECODE) == pytest.approx([0.25] * 4, abs=0.1)


def test_who_decodes_slowly_loses_answers() -> None:
    outcome = played(Incident(5.0, 3, "slows", 4.0))
    assert 0.0 < float((outcome.replica[outcome.arrival > 8.0] == 3).mean()) < 0.14
