"""The attribute scorer: linear over a fixed range or over what the candidates have."""

from typing import Any

import numpy as np
import pytest

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.scheduling.scorers.attributes import AttributeParameters, EndpointAttribute
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

LOWER: dict[str, Any] = {"type": "linear_lower_is_better"}
HIGHER: dict[str, Any] = {"type": "linear_higher_is_better"}


def parameters(**changes: Any) -> AttributeParameters:
    block = PluginBlock(
        type="endpoint-attribute-scorer",
        name="s",
        parameters={"attributeKey": "a", "algorithm": LOWER} | changes,
    )
    found = load.parameters(block, AttributeParameters, source="epp.yaml")
    assert isinstance(found, AttributeParameters)
    return found


def scored(
    values: list[float],
    rows: list[int] | None = None,
    written_by: str = "core-metrics-extractor",
    **changes: Any,
) -> list[float]:
    table = table_of((), [{}] * len(values))
    for row, value in enumerate(values):
        table.set_scalar(row, "a", written_by, value)
    scorer = EndpointAttribute("s", parameters(**changes), wiring_of(table))
    return [float(score) for score in scorer.score(request_with(table), candidates_of(table, rows))]


def test_between_the_least_and_the_greatest_of_the_candidates() -> None:
    # (10-10)/30 = 0, (25-10)/30 = 0.5, (40-10)/30 = 1; lower is better: 1 less that.
    assert scored([10.0, 25.0, 40.0]) == [1.0, 0.5, 0.0]
    assert scored([10.0, 25.0, 40.0], algorithm=HIGHER) == [0.0, 0.5, 1.0]
    assert scored([10.0, 25.0, 40.0], [0, 1]) == [1.0, 0.0]


def test_a_fixed_range_clamps() -> None:
    fixed = {"normalization": {"fixedRange": {"min": 10, "max": 30}}}
    # (15-10)/20 = 0.25; 5 and 50 lie outside and count as the ends.
    assert scored([5.0, 15.0, 50.0], algorithm=HIGHER | fixed) == [0.0, 0.25, 1.0]
    assert scored([5.0, 15.0, 50.0], algorithm=LOWER | fixed) == [1.0, 0.75, 0.0]


def test_the_adaptive_range_can_be_written_out() -> None:
    assert scored([1.0, 2.0], algorithm=LOWER | {"normalization": {"adaptiveRange": {}}}) == [1.0, 0.0]


def test_equal_values_are_all_best() -> None:
    assert scored([7.0, 7.0]) == [1.0, 1.0]
    assert scored([7.0, 7.0], algorithm=HIGHER) == [1.0, 1.0]


@pytest.mark.parametrize("algorithm", [LOWER, HIGHER])
def test_what_is_not_known_gets_0_and_sets_no_range(algorithm: dict[str, Any]) -> None:
    low, high = (1.0, 0.0) if algorithm is LOWER else (0.0, 1.0)
    assert scored([np.nan, 2.0, 4.0], algorithm=algorithm) == [0.0, low, high]
    assert scored([np.nan, np.inf], algorithm=algorithm) == [0.0, 0.0]
    assert scored([], algorithm=algorithm) == []


def test_the_attribute_is_that_of_its_producer() -> None:
    assert scored([1.0, 2.0], written_by="dcgm-extractor") == [0.0, 0.0]
    assert scored([1.0, 2.0], written_by="dcgm-extractor", producer="dcgm-extractor") == [1.0, 0.0]
    assert scored([1.0, 2.0], written_by="dcgm-extractor", producer="") == [1.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"attributeKey": ""}, "attributeKey is empty; name the attribute"),
        ({"attributeKey": "a/dcgm-extractor"}, "name who writes it in producer"),
        ({"algorithm": {}}, "type"),
        ({"algorithm": {"type": "linear"}}, "algorithm.type"),
        ({"algorithm": LOWER | {"normalization": {"fixedRange": {"min": 1, "max": 1}}}}, "min must be less"),
        (
            {"algorithm": LOWER | {"normalization": {"fixedRange": {"max": 1}, "adaptiveRange": {}}}},
            "both fixedRange and adaptiveRange; keep one",
        ),
    ],
)
def test_parameters_that_make_no_sense(changes: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=r"epp\.yaml") as caught:
        parameters(**changes)
    assert part in str(caught.value)
