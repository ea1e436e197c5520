"""Client, real Envoy, picker and replicas, put together: what a user's request passes."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.envoys import Config, Envoy, load, relocated
from bench.picker import Picker
from tests.fakes.replica import Replica, replicas

COMPLETIONS: Final = "/v1/completions"
ANSWER_SECONDS: Final = 20.0
"""No request may hang for longer, whatever is broken."""
SETTLE_SECONDS: Final = 10.0
BY_QUEUE: Final = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: max-score-picker
  parameters: {maxNumOfEndpoints: MOST}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
"""

Change = Callable[[Config], object]
"""Edits a bootstrap file in place."""
Building = Callable[..., AbstractAsyncContextManager["Stack"]]
"""`stack` with a transport chosen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """In lower case, repeated ones as often as they came."""
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def replica(self) -> str:
        """Name of the replica that answered."""
        return "".join(self.values("x-replica"))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Stack:
    """All of it, running."""

    envoy: Envoy
    picker: Picker
    replicas: Sequence[Replica]
    client: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.envoy.port}{path}"

    async def ask(
        self, path: str = COMPLETIONS, *, headers: Sequence[tuple[str, str]] = (), **fields: Any
    ) -> Answer:
        """POST a completion request and read the whole answer."""
        asked = json.dumps({"model": "tiny", "prompt": "hi", **fields}).encode()
        whole = [("content-type", "application/json"), *headers]
        async with self.client.post(self.url(path), data=io.BytesIO(asked), headers=whole) as response:
            return await _whole(response)

    async def get(self, path: str) -> Answer:
        async with self.client.get(self.url(path)) as response:
            return await _whole(response)

    async def in_flight(self) -> float:
        """Requests in the picker's ledger, as its metrics page shows them."""
        return await self.picker.sum_of("llm_d_epp_inflight_requests")

    async def settles(self, value: float, read: Callable[[], Awaitable[float]]) -> None:
        """Wait until something that is read comes to a value; fails with what it stays at."""
        seen = await read()
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while seen != value:
                    await asyncio.sleep(0.02)
                    seen = await read()
        except TimeoutError:
            raise AssertionError(f"stays at {seen}, not {value}\n{self.picker.output()}") from None


@asynccontextmanager
async def stack(
    folder: Path,
    name: str = "standalone",
    *changes: Change,
    names: Sequence[str] = ("a", "b"),
    others: Sequence[str] = (),
    config: str = "",
    most: int = 1,
    secure: bool = False,
    transport: str = "http2",
    config_file: Path | None = None,
    prepare: Callable[[list[Replica]], object] = lambda fleet: None,
) -> AsyncIterator[Stack]:
    """A shipped file by its name, changed or not, with the picker and replicas of these names.

    Without a picker's `config`, picks are by queue length alone, so that a test says with `waiting` who
    wins; `most` is how many are named. `prepare` changes replicas before the picker reads them for the
    first time; `others` are addresses of replicas that the test runs itself. `secure` is TLS between Envoy
    and the picker.
    """
    bootstrap = load(name)
    for change in changes:
        change(bootstrap)
    async with AsyncExitStack() as scope:
        fleet = await scope.enter_async_context(replicas(*names))
        prepare(fleet)
        places = [*(replica.address for replica in fleet), *others]
        text = config or BY_QUEUE.replace("MOST", str(most))
        told = f"--config-text={text}" if config_file is None else f"--config-file={config_file}"
        flags = (told, f"--secure-serving={secure}", f"--transport={transport}")
        picker = Picker(folder, places, *flags)
        envoy = await scope.enter_async_context(
            running(picker, folder, relocated(bootstrap, picker.grpc_port, places))
        )
        # No limit on connections: one a request in flight.
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        client = await scope.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        )
        yield Stack(envoy, picker, fleet, client)


async def _whole(response: aiohttp.ClientResponse) -> Answer:
    body = await response.read()
    headers = tuple((key.decode().lower(), value.decode()) for key, value in response.raw_headers)
    return Answer(response.status, headers, body)


@asynccontextmanager
async def running(picker: Picker, folder: Path, config: Config) -> AsyncIterator[Envoy]:
    """Both, ready; killed at the end, whatever happened."""
    envoy = Envoy(folder, config)
    try:
        await asyncio.gather(picker.start(), envoy.start())
        yield envoy
    finally:
        picker.kill()
        envoy.process.kill()
