import tracemalloc
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from endpoint_picker.datalayer.fetch import FetchError, Pages
from tests.fakes.engine import MEBIBYTE, Engine, Mood, vllm_page


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(vllm_page(waiting=3)) as engine:
        yield engine


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages(deadline=0.3)
    yield pages
    await pages.close()


def url(engine: Engine) -> URL:
    return URL(f"http://127.0.0.1:{engine.port}/metrics")


async def test_a_page_comes_whole_over_one_connection_that_is_kept(engine: Engine, pages: Pages) -> None:
    for _ in range(5):
        assert await pages.get(url(engine)) == engine.page
    assert engine.scrapes == 5
    assert len(engine.peers) == 1


async def test_no_cookie_is_sent_back_and_no_compression_is_asked_for(engine: Engine, pages: Pages) -> None:
    await pages.get(url(engine))
    await pages.get(url(engine))
    assert "cookie" not in engine.headers
    assert engine.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("mood", "why"),
    [
        ("hang", "no complete answer within 0.3 s"),
        ("drip", "no complete answer within 0.3 s"),
        ("boast", "larger than 8 MiB"),
        ("error", "status 500"),
        ("redirect", "status 302"),
        ("bomb", "compressed"),
        ("nonsense", "Expected HTTP"),
        ("cut", "payload"),
    ],
)
async def test_misbehaviour_is_one_kind_of_error(engine: Engine, pages: Pages, mood: Mood, why: str) -> None:
    engine.mood = mood
    with pytest.raises(FetchError, match=why):
        await pages.get(url(engine))
    engine.mood = "fine"
    assert await pages.get(url(engine)) == engine.page


async def test_an_engine_that_is_gone(engine: Engine, pages: Pages) -> None:
    await pages.get(url(engine))
    await engine.vanish()
    for _ in range(2):
        with pytest.raises(FetchError):
            await pages.get(url(engine))
    await engine.come_back()
    assert await pages.get(url(engine)) == engine.page


async def test_a_page_without_end_is_cut_off_and_its_connection_closed(engine: Engine) -> None:
    pages = Pages(deadline=30.0)
    engine.mood = "huge"
    tracemalloc.start()
    try:
        with pytest.raises(FetchError, match="larger than 8 MiB"):
            await pages.get(url(engine))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert engine.sent < 40 * MEBIBYTE  # the rest is never sent: nobody reads it
    assert peak < 40 * MEBIBYTE
    engine.mood = "fine"
    await pages.get(url(engine))
    assert len(engine.peers) == 2
    await pages.close()


async def test_the_limit_itself_is_allowed(engine: Engine) -> None:
    exact, less = Pages(largest=len(engine.page)), Pages(largest=len(engine.page) - 1)
    assert await exact.get(url(engine)) == engine.page
    with pytest.raises(FetchError, match="larger than"):
        await less.get(url(engine))
    await exact.close()
    await less.close()
