"""The scorer that compares a header with a label."""

import pytest

from endpoint_picker.scheduling.scorers.labels import HeaderLabelAffinity, HeaderLabelParameters
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of, wiring_of

PARAMETERS = HeaderLabelParameters(header_name="X-Tier", label_key="tier")


@pytest.mark.parametrize(
    ("headers", "scores"),
    [
        ({"x-tier": "a"}, [1.0, 0.0, 0.0, 1.0]),
        ({"x-tier": "b"}, [0.0, 1.0, 0.0, 0.0]),
        ({"x-tier": "c"}, [0.0, 0.0, 0.0, 0.0]),
        ({"x-tier": ""}, [0.0, 0.0, 0.0, 0.0]),
        ({}, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_1_where_the_label_says_what_the_header_does(headers: dict[str, str], scores: list[float]) -> None:
    table = table_of((), [{"tier": "a"}, {"tier": "b"}, {}, {"tier": "a"}])
    scorer = HeaderLabelAffinity("h", PARAMETERS, wiring_of(table))
    request = request_with(table)
    request.headers = headers
    assert scorer.score(request, candidates_of(table)).tolist() == scores
    assert scorer.score(request, candidates_of(table, [1, 3])).tolist() == [scores[1], scores[3]]


def test_scores_follow_the_labels() -> None:
    table = table_of((), [{"tier": "a"}, {"tier": "b"}])
    scorer = HeaderLabelAffinity("h", PARAMETERS, wiring_of(table))
    request = request_with(table)
    request.headers = {"x-tier": "a"}
    assert scorer.score(request, candidates_of(table)).tolist() == [1.0, 0.0]
    table.replace([endpoint(0, {"tier": "b"}), endpoint(1, {"tier": "a"})])
    assert scorer.score(request, candidates_of(table)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("names", "part"),
    [({"header_name": ""}, "headerName is empty; name"), ({"label_key": ""}, "labelKey is empty; name")],
)
def test_both_names_are_needed(names: dict[str, str], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        HeaderLabelParameters(**{"header_name": "x", "label_key": "y"} | names)
