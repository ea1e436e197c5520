"""The prefix scorer's formula."""

from typing import Any

import pytest

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.scheduling.scorers.prefix import PrefixCache, PrefixParameters
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


@pytest.mark.parametrize(
    ("parameters", "match", "total", "scores"),
    [
        ({}, [0, 5, 10], 10, [0.0, 0.5, 1.0]),
        ({}, [0, 0], 0, [0.0, 0.0]),
        ({}, None, 10, [0.0, 0.0]),
        # a = min(1, match * 64 / 640)²
        ({"match_length_weight": 1.0, "match_length_scale_tokens": 640}, [0, 5, 20], 20, [0.0, 0.25, 1.0]),
        ({"match_length_weight": 0.5, "match_length_scale_tokens": 640}, [0, 5, 10], 20, [0.0, 0.25, 0.75]),
        # The default scale of 8192 tokens is 128 blocks.
        ({"match_length_weight": 1.0}, [64, 128], 256, [0.25, 1.0]),
    ],
)
def test_formula(
    parameters: dict[str, Any], match: list[int] | None, total: int, scores: list[float]
) -> None:
    table = table_of([Gauges()] * len(scores))
    scorer = PrefixCache("p", PrefixParameters(**parameters), wiring_of(table))
    found = scorer.score(request_with(table, match=match, total=total), candidates_of(table))
    assert found.tolist() == pytest.approx(scores)


def test_the_match_is_that_of_the_named_producer() -> None:
    table = table_of([Gauges()])
    scorer = PrefixCache("p", PrefixParameters(prefix_match_info_producer_name="kv"), wiring_of(table))
    assert list(scorer.requires()) == [prefix_match("kv")]
    assert scorer.score(request_with(table, match=[5]), candidates_of(table)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"matchLengthWeight": 1.5}, "write a number from 0 to 1"),
        ({"matchLengthWeight": -0.1}, "write a number from 0 to 1"),
        ({"matchLengthWeight": 0.5, "matchLengthScaleTokens": 0}, "must be more than 0"),
        ({"prefixMatchInfoProducer": "x"}, 'did you mean "prefixMatchInfoProducerName"?'),
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any], part: str) -> None:
    block = PluginBlock(type="prefix-cache-scorer", name="p", parameters=parameters)
    with pytest.raises(ConfigError) as caught:
        load.parameters(block, PrefixParameters, source="f")
    assert part in str(caught.value)


def test_a_scale_of_zero_is_fine_where_it_has_no_weight() -> None:
    assert PrefixParameters(match_length_scale_tokens=0).match_length_scale_tokens == 0
