"""The deprecated plugin that tells a proxy what profiles picked."""

from dataclasses import replace

import pytest

from endpoint_picker.core.decision import Decision, Inline
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.scheduling.disagg.announced import DisaggHeaders
from endpoint_picker.testing import make, request_with, table_of
from tests.fakes.deciding import decided

TABLE = table_of([Gauges()] * 4)


def fields(decision: Decision, **parameters: str) -> dict[str, str]:
    request = request_with(TABLE)
    request.fields["x-kept"] = "1"
    make(DisaggHeaders, TABLE, **parameters).learn(request, decision)
    assert request.fields.pop("x-kept") == "1"
    return request.fields


PREFILLER, ENCODERS = "x-prefiller-host-port", "x-encoder-hosts-ports"


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (decided(TABLE, 0), {}),
        (decided(TABLE, 0, prefill=2), {PREFILLER: "10.0.0.2:8000"}),
        (decided(TABLE, 0, encode=3), {ENCODERS: "10.0.0.3:8000"}),
        (decided(TABLE, 0, prefill=2, encode=3), {PREFILLER: "10.0.0.2:8000", ENCODERS: "10.0.0.3:8000"}),
        (decided(TABLE, 0, other=2), {}),
        (decided(TABLE, 0, prefill=0, encode=0), {}),
        (replace(decided(TABLE, 0, prefill=2, encode=3), inline=Inline(1.0, 1)), {ENCODERS: "10.0.0.3:8000"}),
    ],
)
def test_what_the_profiles_picked_is_told(decision: Decision, expected: dict[str, str]) -> None:
    assert fields(decision) == expected


def test_profiles_may_have_other_names() -> None:
    decision = decided(TABLE, 0, prefill=1, p=2, e=3)
    assert fields(decision, prefillProfile="p", encodeProfile="e") == {
        PREFILLER: "10.0.0.2:8000",
        ENCODERS: "10.0.0.3:8000",
    }
