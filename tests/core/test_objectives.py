"""Objectives: names have priorities, and who is not known has none."""

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.objectives import Objectives


def test_a_name_that_is_not_known_is_of_priority_zero() -> None:
    objectives = Objectives({"batch": -1})
    assert [objectives.priority(name) for name in ("batch", "chat", "")] == [-1, 0, 0]


def test_new_objectives_take_the_place_of_the_old_ones() -> None:
    objectives = EndpointTable().objectives
    assert len(objectives) == 0
    objectives.replace({"batch": -1})
    objectives.replace({"chat": 3})
    assert (len(objectives), objectives.priority("batch"), objectives.priority("chat")) == (1, 0, 3)
