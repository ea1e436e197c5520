import pytest

from endpoint_picker.app import SHELLS


@pytest.fixture(params=SHELLS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the transports in turn: what is said over them must not differ."""
    return str(request.param)
