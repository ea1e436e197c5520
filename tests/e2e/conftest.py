"""Every test here starts real processes: it says so, and has time enough on a busy machine."""

import functools
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import stack as whole

HERE = Path(__file__).parent
SECONDS = 120
OPEN_FILES = 8192
"""Clients, Envoy and replicas of 500 streams at once; many shells allow a process 1024."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
def stack(transport: str) -> whole.Building:
    """Builds the whole of it, with each transport in turn."""
    return functools.partial(whole.stack, transport=transport)


@pytest.fixture(scope="session", autouse=True)
def open_files() -> Iterator[None]:
    """Room for many connections, here and in the processes that are started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
