"""Replicas are killed at every moment of a request: the answer is right or an error is clear, and soon."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.fakes.disagg import LONG, Document, Gateway, endpoint, gateway, session, sidecar_of, staged
from tests.fakes.fleet import Simulated, started
from tests.fakes.simulated import events

WAYS: Final = ("sidecar", "inline")
PATH: Final = "/v1/completions"
FOR_EVER: Final = 1000
"""Seconds that something takes which the test does not wait for."""
SLOW_STEPS: Final = ("--fixed-s=0.2",)
SLOW_PROMPTS: Final = (f"--prefill-token-s={FOR_EVER}",)
SLOW_LINKS: Final = (f"--kv-transfer-latency={FOR_EVER}", "--kv-lease-seconds=10000")
TOKENS: Final = 8
SOON: Final = 20.0
"""Seconds; as long as a loaded machine may take."""
SERIAL: Final = itertools.count()

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas that live as long as the module."""

    usual: Simulated
    """Two ordinary ones; the first one also knows the right answers."""
    strict: Simulated
    """It fetches for ever, and fails when it cannot."""
    lenient: Simulated
    """It fetches for ever, and computes the prompt when it cannot."""
    slow: Simulated
    """It takes its time for each token."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    fleet = Fleet(
        usual=Simulated(folder, "usual", replicas=2),
        strict=Simulated(folder, "strict", *SLOW_LINKS, "--kv-load-failure-policy=fail"),
        lenient=Simulated(folder, "lenient", *SLOW_LINKS, "--kv-load-failure-policy=recompute"),
        slow=Simulated(folder, "slow", *SLOW_STEPS),
    )
    with started(fleet.usual, fleet.strict, fleet.lenient, fleet.slow):
        yield fleet


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("kills")) as running:
        yield running


@asynccontextmanager
async def victim(folder: Path, *flags: str) -> AsyncIterator[Simulated]:
    """A replica to be killed."""
    replica = Simulated(folder, "victim", *flags)
    try:
        await replica.start()
        yield replica
    finally:
        replica.kill()


@dataclass(frozen=True, slots=True)
class Scene:
    """One replica prefills for one that decodes; and a client."""

    door: Gateway
    fleet: Fleet
    client: aiohttp.ClientSession
    pool: list[Document]

    def post(self, body: Body) -> aiohttp.client._RequestContextManager:
        return self.client.post(f"http://127.0.0.1:{self.door.envoys['standalone'].port}{PATH}", json=body)

    async def ask(self, body: Body) -> tuple[int, str]:
        """Status and text; 0 and none where the answer broke off."""
        try:
            async with self.post(body) as response:
                return response.status, await response.text()
        except aiohttp.ClientPayloadError:
            return 0, ""

    async def asked_twice(self, prompt: str) -> list[asyncio.Task[tuple[int, str]]]:
        """For a whole answer, and for a stream."""
        bodies = (asking(prompt), asking(prompt, stream=True))
        return [asyncio.create_task(self.ask(body)) for body in bodies]

    async def right(self, body: Body) -> str:
        """The text that a client should get."""
        async with self.client.post(f"http://{self.fleet.usual.place}{PATH}", json=body) as response:
            return text_of(await response.text(), body)

    async def is_right(self, prompt: str, answers: Sequence[Awaitable[tuple[int, str]]]) -> None:
        """A whole answer and a stream."""
        for stream, answer in enumerate(answers):
            body = asking(prompt, stream=bool(stream))
            status, text = await answer
            assert (status, text_of(text, body)) == (200, await self.right(body))

    async def goes_on(self) -> None:
        """The next requests get right answers, and then nothing is in flight."""
        await self.is_right(
            "the next", [self.ask(asking("the next", stream=stream)) for stream in (False, True)]
        )
        await self.books_are_empty()

    async def goes_on_without(self, way: str) -> None:
        """With another replica that decodes, answers are right; whoever is sent to the dead one is told."""
        async with self.beside(way, self.fleet.usual.places[1]) as place:
            await self.door.routes(staged(way), [*self.pool, endpoint("another", place, "decode")])
            body = asking("the next")
            answers = [await self.ask(body) for _ in range(8)]
            right = await self.right(body)
            served = [text_of(text, body) for status, text in answers if status == 200]
            assert {status for status, _ in answers} <= {200, 502, 503}
            assert set(served) == {right}
            await self.books_are_empty()

    async def books_are_empty(self) -> None:
        async with asyncio.timeout(SOON):
            for family in ("llm_d_epp_inflight_requests", "llm_d_epp_inflight_tokens"):
                while await self.door.picker.sum_of(family):
                    await asyncio.sleep(0.02)

    @staticmethod
    @asynccontextmanager
    async def beside(way: str, place: str) -> AsyncIterator[str]:
        """Where a replica that decodes is reached: with a sidecar before it, or as it is."""
        if way == "inline":
            yield place
            return
        async with sidecar_of(int(place.rpartition(":")[2])) as sidecar:
            yield f"127.0.0.1:{sidecar.ports[0]}"


@asynccontextmanager
async def scene(
    door: Gateway, fleet: Fleet, way: str, *, prefill: Simulated, decode: Simulated
) -> AsyncIterator[Scene]:
    async with Scene.beside(way, decode.place) as place, session() as client:
        number = next(SERIAL)
        pool = [
            endpoint(f"computes-{number}", prefill.place, "prefill"),
            endpoint(f"decodes-{number}", place, "decode"),
        ]
        await door.routes(staged(way), pool)
        yield Scene(door, fleet, client, pool)


def asking(prompt: str, *, stream: bool = False) -> Body:
    return {"model": "tiny", "prompt": f"{prompt}: {LONG}", "max_tokens": TOKENS, "stream": stream}


def text_of(text: str, body: Body) -> str:
    """The generated text of an answer that came to its end."""
    documents = events(text) if body["stream"] else [json.loads(text)]
    if body["stream"]:
        assert documents.pop() == "[DONE]"
    return "".join(choice["text"] for document in documents for choice in document["choices"])


# === who prefills ===


@pytest.mark.parametrize("way", WAYS)
async def test_killed_during_and_before_its_leg(
    door: Gateway, fleet: Fleet, tmp_path: Path, way: str
) -> None:
    """Before it, since what is asked next finds the dead replica still in the pool."""
    async with (
        victim(tmp_path, *SLOW_PROMPTS) as dying,
        scene(door, fleet, way, prefill=dying, decode=fleet.usual) as there,
    ):
        answers = await there.asked_twice("during its leg")
        await dying.works_on(2)
        dying.kill()
        await there.is_right("during its leg", answers)
        await there.goes_on()


@pytest.mark.parametrize("way", WAYS)
async def test_killed_while_it_hands_over_what_must_not_fail(
    door: Gateway, fleet: Fleet, tmp_path: Path, way: str
) -> None:
    async with (
        victim(tmp_path) as dying,
        scene(door, fleet, way, prefill=dying, decode=fleet.lenient) as there,
    ):
        answers = await there.asked_twice("handed over")
        await fleet.lenient.shows("num_requests_waiting", 2)
        dying.kill()
        await there.is_right("handed over", answers)
        await there.goes_on()


@pytest.mark.parametrize("way", WAYS)
async def test_killed_while_it_hands_over_what_may_fail(
    door: Gateway, fleet: Fleet, tmp_path: Path, way: str
) -> None:
    async with (
        victim(tmp_path) as dying,
        scene(door, fleet, way, prefill=dying, decode=fleet.strict) as there,
    ):
        whole, stream = await there.asked_twice("handed over")
        await fleet.strict.shows("num_requests_waiting", 2)
        dying.kill()
        status, text = await whole
        assert (status, json.loads(text)["error"]["type"]) == (500, "InternalServerError")
        assert "KV entries" in json.loads(text)["error"]["message"]
        status, text = await stream
        *_, error, end = events(text)
        assert (status, error["error"]["code"], end) == (200, 500, "[DONE]")
        await there.goes_on()


@pytest.mark.parametrize("way", WAYS)
async def test_killed_after_its_leg(door: Gateway, fleet: Fleet, tmp_path: Path, way: str) -> None:
    body = asking("after its leg", stream=True)
    async with (
        victim(tmp_path) as dying,
        scene(door, fleet, way, prefill=dying, decode=fleet.slow) as there,
    ):
        async with there.post(body) as response:
            begun = await response.content.readuntil(b"\n\n")
            dying.kill()
            text = (begun + await response.content.read()).decode()
        assert text_of(text, body) == await there.right(body)
        await there.goes_on()


# === who decodes ===


@pytest.mark.parametrize("way", WAYS)
async def test_who_decodes_is_killed_before_the_first_token(
    door: Gateway, fleet: Fleet, tmp_path: Path, way: str
) -> None:
    async with (
        victim(tmp_path, *SLOW_LINKS) as dying,
        scene(door, fleet, way, prefill=fleet.usual, decode=dying) as there,
    ):
        whole, stream = await there.asked_twice("no token yet")
        await dying.shows("num_requests_waiting", 2)
        dying.kill()
        status, text = await whole
        assert status in (502, 503)
        assert text
        # Its head was there, so what is left is to break off.
        assert await stream == (0, "")
        await there.books_are_empty()
        await there.goes_on_without(way)


@pytest.mark.parametrize("way", WAYS)
async def test_who_decodes_is_killed_in_a_stream(
    door: Gateway, fleet: Fleet, tmp_path: Path, way: str
) -> None:
    async with (
        victim(tmp_path, *SLOW_STEPS) as dying,
        scene(door, fleet, way, prefill=fleet.usual, decode=dying) as there,
    ):
        async with there.post(asking("some tokens", stream=True)) as response:
            await response.content.readuntil(b"\n\n")
            dying.kill()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        await there.books_are_empty()
        await there.goes_on_without(way)
