"""Tests against the real vLLM engine. `make test-vllm` runs them, `make test` does not."""

import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from bench.vllm.engine import START_SECONDS
from tests.real.engines import Pair, running
from tests.real.gateways import Gateway, Way, disaggregated

HERE = Path(__file__).parent
SECONDS = 120
ANSWER_SECONDS = 60.0
"""No request may hang for longer."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and give the first one time to start the engines."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(START_SECONDS + SECONDS))


@pytest.fixture(scope="session", autouse=True)
def ended_as_by_hand() -> Iterator[None]:
    """Have a run that is told to end do as with Ctrl-C: its engines are large, and end with the fixtures."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two replicas for all tests: a start takes longer than all of them."""
    async with running(tmp_path_factory.mktemp("engines")) as pair:
        yield pair


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["inline", "sidecar"])
async def place(
    request: pytest.FixtureRequest, engines: Pair, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One replica computes prompts, the other one decodes, in either way."""
    way: Way = request.param
    prefiller = engines.prefill.address
    async with disaggregated(tmp_path_factory.mktemp(way), way, prefiller, engines.decode) as gateway:
        yield gateway


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    # Engines close what is idle for 5 s, maybe while the next request is on its way.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session


@pytest.fixture
def prompt(request: pytest.FixtureRequest, engines: Pair) -> Callable[[int], str]:
    """A prompt of so many tokens that no replica has seen before."""
    rng = random.Random(request.node.nodeid)
    return lambda tokens: " ".join(rng.choices(engines.words, k=tokens))
