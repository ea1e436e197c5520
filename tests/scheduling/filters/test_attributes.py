"""The attribute filter: each operator, what is not known, and who wrote it."""

from typing import Any

import numpy as np
import pytest

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.scheduling.filters.attributes import AttributeParameters, EndpointAttribute
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


def table_with(values: list[float], attribute: str = "a", producer: str = "core-metrics-extractor") -> Any:
    table = table_of((), [{}] * len(values))
    for row, value in enumerate(values):
        table.set_scalar(row, attribute, producer, value)
    return table


def parameters(**changes: Any) -> AttributeParameters:
    threshold = {"operator": "LessThanOrEqual", "value": 2.0}
    value = {"attribute": "a", "algorithm": {"type": "threshold", "threshold": threshold}} | changes
    block = PluginBlock(type="endpoint-attribute-filter", name="f", parameters=value)
    found = load.parameters(block, AttributeParameters, source="epp.yaml")
    assert isinstance(found, AttributeParameters)
    return found


def kept(table: EndpointTable, rows: list[int] | None = None, **changes: Any) -> list[bool]:
    keeping = EndpointAttribute("f", parameters(**changes), wiring_of(table))
    return [bool(stays) for stays in keeping.keep(request_with(table), candidates_of(table, rows))]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("LessThan", [True, False, False]),
        ("LessThanOrEqual", [True, True, False]),
        ("GreaterThan", [False, False, True]),
        ("GreaterThanOrEqual", [False, True, True]),
        ("Equal", [False, True, False]),
        ("NotEqual", [True, False, True]),
    ],
)
def test_operators(operator: str, expected: list[bool]) -> None:
    algorithm = {"type": "threshold", "threshold": {"operator": operator, "value": 2}}
    assert kept(table_with([1.0, 2.0, 3.0]), algorithm=algorithm) == expected


@pytest.mark.parametrize(
    ("operator", "policy", "stays"),
    [("LessThan", "Pass", True), ("LessThan", "Fail", False), ("NotEqual", "Fail", False)],
)
def test_what_is_not_known_stays_unless_it_shall_fail(operator: str, policy: str, stays: bool) -> None:
    algorithm = {"type": "threshold", "threshold": {"operator": operator, "value": 2}}
    table = table_with([1.0, np.nan])
    assert kept(table, algorithm=algorithm, onMissing=policy) == [True, stays]
    # Nobody wrote the attribute at all.
    assert kept(table, attribute="b", algorithm=algorithm, onMissing=policy) == [stays, stays]


def test_nobody_may_be_left_unless_everybody_shall_stay_then() -> None:
    table = table_with([5.0, 6.0, 1.0])
    assert kept(table, [0, 1]) == [False, False]
    assert kept(table, [0, 1], fallbackOnEmpty=True) == [True, True]
    assert kept(table, fallbackOnEmpty=True) == [False, False, True]


def test_the_attribute_is_that_of_its_producer() -> None:
    table = table_with([1.0, 9.0], producer="dcgm-extractor")
    assert kept(table, onMissing="Fail") == [False, False]
    assert kept(table, onMissing="Fail", producer="dcgm-extractor") == [True, False]
    assert kept(table, onMissing="Fail", producer="") == [True, False]


def test_a_name_with_a_slash_needs_its_producer_beside_it() -> None:
    table = table_with([1.0, 9.0], attribute="llm-d.ai/x")
    assert kept(table, attribute="llm-d.ai/x", producer="") == [True, False]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"attribute": ""}, "attribute is empty; name the attribute"),
        ({"attribute": "a/core-metrics-extractor"}, "name who writes it in producer"),
        ({"onMissing": "pass"}, "onMissing"),
        ({"algorithm": {"type": "range"}}, "algorithm"),
        ({"algorithm": {"type": "threshold"}}, "threshold"),
        ({"algorithm": {"type": "threshold", "threshold": {"operator": "<", "value": 1}}}, "operator"),
    ],
)
def test_parameters_that_make_no_sense(changes: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=r"epp\.yaml") as caught:
        parameters(**changes)
    assert part in str(caught.value)
