import pytest

from endpoint_picker.app import SHELLS

collect_ignore = ["real"]
"""What `make test-vllm` runs: it needs an engine."""


@pytest.fixture(params=SHELLS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the transports in turn: what is said over them must not differ."""
    return str(request.param)
