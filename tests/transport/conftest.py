from collections.abc import AsyncIterator

import pytest

from tests.fakes.http2_client import Client
from tests.fakes.talking import Talk, talking


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
async def port(talk: Talk) -> AsyncIterator[int]:
    """Of our server, with the limits that it has by itself."""
    async with talking(talk) as (_, port):
        yield port


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    """A connection on which both sides have said hello."""
    client = await Client.connect(port)
    yield await client.greet()
    await client.close()
