"""What tests of parsers need to build them, and recordings to feed them with."""

import itertools
import json
from pathlib import Path

import pytest

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring

RECORDINGS = Path(__file__).parents[3] / "shared" / "golden" / "vllm-0.32.0" / "http.json"


def wiring() -> Wiring:
    """Parsers take nothing of it."""
    return Wiring(EndpointTable(), Metrics())


def recorded(name: str) -> bytes:
    """The body of a recorded response of a real model server; skips the test where there are none."""
    if not RECORDINGS.is_file():
        pytest.skip("no recordings beside this checkout")
    body = json.loads(RECORDINGS.read_text())[name][2]
    assert isinstance(body, str)
    return body.encode()


def split(data: bytes, places: list[int]) -> list[bytes]:
    """The data in parts, cut at these places (taken modulo its length)."""
    cuts = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]
