import pytest

from tests.fakes.routing import Pool
from tests.fakes.talks import pool_of_three


@pytest.fixture
def pool() -> Pool:
    """One idle replica and two busy ones."""
    return pool_of_three()
