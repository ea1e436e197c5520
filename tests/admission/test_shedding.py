"""Shedding: negative priority and a full pool, and nobody else."""

import pytest

from endpoint_picker.admission.saturation import Utilization, UtilizationParameters
from endpoint_picker.admission.shedding import SATURATED, Shedding
from endpoint_picker.core.endpoints import Candidates, Gauges
from endpoint_picker.plugin import Admitter
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


class Fixed:
    """A detector that always says the same, and counts who asks."""

    def __init__(self, saturation: float) -> None:
        self.value = saturation
        self.asked: list[list[int]] = []

    def saturation(self, candidates: Candidates) -> float:
        self.asked.append(candidates.rows.tolist())
        return self.value


@pytest.mark.parametrize(
    ("priority", "saturation", "refused"),
    [
        (-1, 0.999, False),
        (-1, 1.0, True),
        (-10, 7.5, True),
        (0, 7.5, False),
        (5, 7.5, False),
        (-1, float("nan"), False),
    ],
)
def test_who_is_shed(priority: int, saturation: float, refused: bool) -> None:
    table = table_of([Gauges()] * 3)
    request = request_with(table)
    request.priority = priority
    detector = Fixed(saturation)
    answer = Shedding(detector).admit(request, candidates_of(table, [1, 2]))
    assert answer == (SATURATED if refused else "")
    # The request's own candidates are asked about, and only where the answer matters.
    assert detector.asked == ([[1, 2]] if priority < 0 else [])


def test_it_is_an_admitter_under_the_name_of_its_detector() -> None:
    shedding = Shedding(Utilization("sat", UtilizationParameters(), wiring_of(table_of([]))))
    assert isinstance(shedding, Admitter)
    assert (shedding.name, shedding.type) == ("sat", "utilization-detector")
    assert Shedding(Fixed(0.0)).name == "Fixed"
