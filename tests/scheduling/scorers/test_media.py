"""The scorer of encoded media."""

import numpy as np
import pytest

from endpoint_picker.core.attributes import EncoderMatch, encoder_match
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.scheduling.scorers.media import EncodedMedia, MediaParameters
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


@pytest.mark.parametrize(
    ("matched", "total", "expected"),
    [
        # matched / total
        ([0.0, 1.0, 4.0], 4.0, [0.0, 0.25, 1.0]),
        ([0.0, 0.0, 0.0], 0.0, [0.0, 0.0, 0.0]),
        (None, 0.0, [0.0, 0.0, 0.0]),
    ],
)
@pytest.mark.parametrize(("parameter", "producer"), [("", "mm-embeddings-cache-producer"), ("mine", "mine")])
def test_formula(
    matched: list[float] | None, total: float, expected: list[float], parameter: str, producer: str
) -> None:
    table = table_of([Gauges()] * 3)
    scorer = EncodedMedia("m", MediaParameters(producer_name=parameter), wiring_of(table))
    request = request_with(table)
    if matched is not None:
        request.attributes.write(encoder_match(producer), EncoderMatch(np.array([*matched, 0.0]), total))
    assert scorer.score(request, candidates_of(table)).tolist() == expected
    assert scorer.score(request, candidates_of(table, [1])).tolist() == expected[1:2]
    assert list(scorer.requires()) == [encoder_match(producer)]


def test_the_default_is_the_producer_of_the_default_name() -> None:
    table = table_of([Gauges()])
    scorer = EncodedMedia("m", MediaParameters(), wiring_of(table))
    assert list(scorer.requires()) == [encoder_match()]
