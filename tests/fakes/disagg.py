"""One Envoy and one picker for many tests of disaggregation; engines, sidecars and configurations for each.

To start programs costs seconds, so a module starts them once. A test gives the picker its configuration and
its pool by a reload, and every endpoint has a name that no other test used: nothing is known of it.
"""

import asyncio
import itertools
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

from bench.envoys import Envoy, load, relocated
from bench.picker import Picker, total
from bench.processes import free_port, page
from endpoint_picker.sidecar import sources
from endpoint_picker.sidecar.server import Sidecar
from tests.fakes.replica import Received
from tests.fakes.stack import Stack
from tests.fakes.vllm import Vllm

WAYS: Final = ("sidecar", "inline", "buffered")
"""A sidecar before each engine that decodes; inline in full duplex; inline where Envoy holds whole bodies."""
ENVOYS: Final = {"sidecar": "standalone", "inline": "standalone", "buffered": "fallback"}
ROLE: Final = "llm-d.ai/role"
LONG: Final = "once upon a time there was a " * 40
"""About 290 tokens as the picker counts them."""
ASK_SECONDS: Final = 40.0
"""No request may hang for longer."""

Document = dict[str, Any]
"""A configuration file, as YAML has it."""

_serial: Final = itertools.count()


def staged(way: str = "sidecar", decider: str = "always-disagg-pd-decider", **handler: Any) -> Document:
    """Prefill and decode by role and queue, encode by role; `handler` are further parameters of its own."""
    inline = {"disaggregation": "inline"} if way != "sidecar" else {}
    parameters: Document = {"deciders": {"prefill": decider} if decider else {}, **inline, **handler}
    plugins = [
        {"type": "disagg-profile-handler", "parameters": parameters},
        {"type": "always-disagg-pd-decider"},
        {"type": "prefix-based-pd-decider", "parameters": {"nonCachedTokens": 64}},
        {"type": "always-disagg-multimodal-decider"},
        {
            "type": "approx-prefix-cache-producer",
            "parameters": {"autoTune": False, "blockSizeTokens": 16},
        },
        *({"type": f"{role}-filter"} for role in ("prefill", "decode", "encode")),
        {"type": "queue-scorer"},
    ]
    return {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": [
            profile(role, f"{role}-filter", "queue-scorer") for role in ("prefill", "decode", "encode")
        ],
    }


def profile(name: str, *plugins: str) -> Document:
    return {"name": name, "plugins": [{"pluginRef": plugin} for plugin in plugins]}


# === processes ===


class Gateway:
    """Envoys before one picker, which routes by whatever it was told last."""

    def __init__(self, folder: Path, names: Sequence[str], *flags: str, places: Sequence[str] = ()) -> None:
        """An Envoy for each shipped file in `names`."""
        self._folder = folder
        self._config = folder / "epp.yaml"
        self.places = places or [f"127.0.0.1:{free_port()}" for _ in range(2)]
        """The only replicas that an Envoy with a list of them knows; others take whoever is picked."""
        self._write({"plugins": [{"type": "queue-scorer"}]}, [])
        given = (f"--config-file={self._config}", "--secure-serving=false", "--allow-experimental-plugins")
        self.picker = Picker(folder, (), *given, *flags)
        self.envoys = {name: self._envoy(name) for name in dict.fromkeys(names)}

    async def start(self) -> None:
        await asyncio.gather(self.picker.start(), *(envoy.start() for envoy in self.envoys.values()))

    def kill(self) -> None:
        self.picker.kill()
        for envoy in self.envoys.values():
            envoy.process.kill()

    async def routes(self, document: Document, endpoints: Sequence[Document]) -> None:
        """Have the picker serve these endpoints by this configuration from now on."""
        self._write(document, endpoints)
        process = self.picker.process
        assert process is not None
        before = await self._loaded("success")
        process.signal(signal.SIGHUP)
        async with asyncio.timeout(ASK_SECONDS):
            while await self._loaded("success") == before:
                assert not await self._loaded("failure"), self.picker.output()
                await asyncio.sleep(0.01)

    async def page(self) -> str:
        """The picker's metrics."""
        return await page(f"http://127.0.0.1:{self.picker.metrics_port}/metrics")

    def _envoy(self, name: str) -> Envoy:
        own = self._folder / name
        own.mkdir()
        return Envoy(own, relocated(load(name), self.picker.grpc_port, self.places))

    def _write(self, document: Document, endpoints: Sequence[Document]) -> None:
        pool = self._folder / f"pool-{next(_serial)}.yaml"
        pool.write_text(yaml.safe_dump({"endpoints": list(endpoints)}))
        discovery = {"type": "file-discovery", "parameters": {"path": str(pool)}}
        layer = {**document.get("dataLayer", {}), "discovery": {"pluginRef": "file-discovery"}}
        whole = {
            "apiVersion": "llm-d.ai/v1alpha1",
            "kind": "EndpointPickerConfig",
            **document,
            "plugins": [*document["plugins"], discovery],
            "dataLayer": layer,
        }
        fresh = self._config.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(whole))
        fresh.rename(self._config)

    async def _loaded(self, result: str) -> float:
        return await self.picker.sum_of("llm_d_epp_config_reloads_total", result=result)


@contextmanager
def gateway(
    folder: Path, names: Sequence[str] = ("standalone",), *flags: str, places: Sequence[str] = ()
) -> Iterator[Gateway]:
    """Envoys of these names and a picker, ready; killed at the end. Not to be used in a running loop."""
    whole = Gateway(folder, names, *flags, places=places)
    try:
        asyncio.run(whole.start())
        yield whole
    finally:
        whole.kill()


# === engines ===


class Engine(Vllm):
    """An engine whose metrics page is read by the picker; only what is asked of it counts as received."""

    waiting = 0.0
    host = "127.0.0.1"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self, **tls: Any) -> None:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_get("/metrics", self._page)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, **tls).start()
        self.port = self._runner.addresses[0][1]

    async def asked(self, times: int = 1) -> list[Received]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(ASK_SECONDS):
            while len(self.received) < times:
                await asyncio.sleep(0.005)
        return self.received

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(
            text=f'vllm:num_requests_waiting{{engine="0",model_name="tiny"}} {self.waiting}\n'
        )


def endpoint(name: str, address: str, role: str, **labels: str) -> Document:
    """An entry of an endpoints file; without a role there is no label for it."""
    host, _, port = address.rpartition(":")
    roles = {ROLE: role} if role else {}
    return {"name": name, "address": host, "port": int(port), "labels": {**roles, **labels}}


# === a pool of them ===


@dataclass(frozen=True, slots=True)
class Scene(Stack):
    """A pool of fake engines behind the gateway, and a client."""

    gateway: Gateway
    way: str
    prefill: list[Engine]
    decode: list[Engine]
    encode: list[Engine]
    sidecars: list[Sidecar]
    before: str = field(repr=False)
    """The picker's metrics when the scene began."""

    async def rise(self, family: str, **labels: str) -> float:
        """By how much a counter of the picker has risen since the scene began."""
        return total(await self.gateway.page(), family, **labels) - total(self.before, family, **labels)

    async def decided(self, decision: str) -> float:
        """Requests of this scene by the stages that ran on endpoints of their own."""
        return await self.rise("llm_d_epp_disagg_decision_total", decision_type=decision)

    async def fallen_back(self, outcome: str) -> float:
        """Requests whose prompt nobody computed: by the picker's word for why, or by their sidecars'."""
        if self.way != "sidecar":
            return await self.rise("llm_d_epp_inline_prefill_seconds_count", outcome=outcome)
        return sum(_fallen_back(sidecar) for sidecar in self.sidecars)

    async def tokens(self) -> float:
        """Tokens in the picker's ledger."""
        return await self.picker.sum_of("llm_d_epp_inflight_tokens")

    async def settled(self) -> None:
        """Nothing is in flight any more."""
        await self.settles(0, self.in_flight)
        await self.settles(0, self.tokens)

    async def queue(self, *waiting: float) -> None:
        """Give those who prefill queues of these lengths, and wait until the picker has seen them.

        None is empty: then it could be one that has not been read.
        """
        assert all(waiting)
        for engine, length in zip(self.prefill, waiting, strict=True):
            engine.waiting = length

        async def seen() -> float:
            return await self.picker.sum_of("llm_d_epp_per_endpoint_queue_size")

        await self.settles(sum(waiting), seen)


@asynccontextmanager
async def scene(
    gateway: Gateway,
    way: str = "sidecar",
    *,
    document: Document | None = None,
    prefill: int = 1,
    decode: int = 1,
    encode: int = 0,
    roles: Mapping[str, str] = {},
    flags: Sequence[str] | None = (),
    **handler: Any,
) -> AsyncIterator[Scene]:
    """So many engines of each role, and the picker told of them; afterwards nothing may be in flight.

    Without a `document` prompts are always computed elsewhere; `handler` are parameters of its handler.
    `roles` gives the engines of a role another label, or none. `flags` are of the sidecars; None: the engines
    that decode have none, so that they show what sidecars are sent.
    """
    async with AsyncExitStack() as scope:
        number = next(_serial)
        ports = [int(place.rpartition(":")[2]) for place in gateway.places] if way == "buffered" else []
        engines: dict[str, list[Engine]] = {}
        for role, count in {"prefill": prefill, "decode": decode, "encode": encode}.items():
            free = ports if role == "decode" else []
            engines[role] = [
                Engine(f"{role}-{index}", port=free[index] if free else 0) for index in range(count)
            ]
            for engine in engines[role]:
                await scope.enter_async_context(engine)
        sidecars: list[Sidecar] = []
        places = {engine: engine.address for each in engines.values() for engine in each}
        if way == "sidecar" and flags is not None:
            for engine in engines["decode"]:
                sidecar = await scope.enter_async_context(sidecar_of(engine.port, *flags))
                sidecars.append(sidecar)
                places[engine] = f"127.0.0.1:{sidecar.ports[0]}"
        pool = [
            endpoint(f"{engine.name}-{number}", places[engine], roles.get(role, role))
            for role, each in engines.items()
            for engine in each
        ]
        await gateway.routes(document or staged(way, **handler), pool)
        client = await scope.enter_async_context(session())
        there = Scene(
            gateway.envoys[ENVOYS[way]],
            gateway.picker,
            (),
            client,
            gateway,
            way,
            engines["prefill"],
            engines["decode"],
            engines["encode"],
            sidecars,
            await gateway.page(),
        )
        yield there
        await there.settled()


@asynccontextmanager
async def sidecar_of(port: int, *flags: str) -> AsyncIterator[Sidecar]:
    """A sidecar for the engine on this port; it may send prompts anywhere on this machine."""
    usual = ("--port=0", "--secure-proxy=false", f"--model-server-port={port}", "--drain-timeout=1s")
    sidecar = Sidecar(sources.read((*usual, "--allowed-prefillers=127.0.0.0/8", *flags), {}).options)
    await sidecar.start()
    try:
        yield sidecar
    finally:
        await sidecar.stop()


def session() -> aiohttp.ClientSession:
    """A client that waits for no answer longer than any may take."""
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))


def _fallen_back(sidecar: Sidecar) -> float:
    samples = (sample for metric in sidecar._counts.registry.collect() for sample in metric.samples)
    named = "endpoint_picker_sidecar_prefills_total"
    return sum(
        sample.value
        for sample in samples
        if sample.name == named and sample.labels["outcome"] in ("fallback", "empty")
    )


@asynccontextmanager
async def ranked(count: int) -> AsyncIterator[tuple[list[Engine], int]]:
    """So many ranks of one pod, each an engine behind the same sidecar, and the first port of that."""
    first, engines = _consecutive(count), _consecutive(count)
    async with AsyncExitStack() as scope:
        ranks = [Engine(f"rank-{rank}", port=engines + rank) for rank in range(count)]
        for engine in ranks:
            await scope.enter_async_context(engine)
        flags = (f"--port={first}", f"--data-parallel-size={count}")
        await scope.enter_async_context(sidecar_of(engines, *flags))
        yield ranks, first


def _consecutive(count: int) -> int:
    """The first of that many ports in a row that nobody uses now."""
    while True:
        first = free_port()
        try:
            with ExitStack() as probes:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first
