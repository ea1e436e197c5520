"""The adapter scorer's four steps."""

import pytest

from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.scheduling.scorers.lora import LoraAffinity
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


@pytest.mark.parametrize(
    ("running", "waiting", "max_lora", "score"),
    [
        ({"a"}, set(), 1, 1.0),
        ({"a", "b"}, {"c"}, 2, 1.0),
        ({"b"}, set(), 2, 0.8),
        ({"b"}, {"a"}, 3, 0.8),
        ({"b"}, {"a"}, 2, 0.6),
        ({"b"}, {"c"}, 2, 0.0),
        (set(), set(), 0, 0.0),
        (None, None, None, 0.0),
    ],
)
def test_steps(
    running: set[str] | None, waiting: set[str] | None, max_lora: int | None, score: float
) -> None:
    gauges = Gauges(
        max_lora=max_lora,
        lora_running=None if running is None else frozenset(running),
        lora_waiting=None if waiting is None else frozenset(waiting),
    )
    table = table_of([gauges])
    scorer = LoraAffinity("l", None, wiring_of(table))
    assert scorer.score(request_with(table, model="a"), candidates_of(table)).tolist() == [score]
