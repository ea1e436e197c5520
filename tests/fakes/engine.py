"""A model server's metrics page on a real port, with every way in which a replica misbehaves."""

import asyncio
import gzip
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self

from aiohttp import web

from endpoint_picker.core.endpoints import Endpoint

Mood = Literal[
    "fine", "hang", "huge", "drip", "error", "redirect", "bomb", "nonsense", "cut", "boast", "gated"
]
"""fine: answers with `page`; hang: accepts and says nothing; huge: 100 MB without end in sight; drip: a byte
at a time; error: status 500; redirect: to a fine page; bomb: 100 MB that gzip made small; nonsense: no HTTP;
cut: half of the page, then a closed connection; boast: announces 1 GiB and
sends none of it; gated: `page`, once `gate` is set."""

MEBIBYTE: Final = 1 << 20
HUGE_MEBIBYTES: Final = 100


def vllm_page(*, waiting: object = 0, running: object = 0, kv: object = 0.0) -> bytes:
    """A page with the load of one vLLM rank; values are written as they come."""
    labels = '{engine="0",model_name="tiny"}'
    return (
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        f"vllm:num_requests_waiting{labels} {waiting}\n"
        f'vllm:num_requests_waiting_by_reason{{engine="0",reason="capacity"}} 99\n'
        f"vllm:num_requests_running{labels} {running}\n"
        f"vllm:kv_cache_usage_perc{labels} {kv}\n"
    ).encode()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds; fails when it never does."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("what was waited for never came")


class Engine:
    """One fake replica on a free port of 127.0.0.1; a context manager."""

    def __init__(self, page: bytes = b"", mood: Mood = "fine") -> None:
        self.page = page or vllm_page()
        self.models = b""
        """Its list of models."""
        self.mood: Mood = mood
        self.port = 0
        self.scrapes = 0
        """Requests for the page that have come."""
        self.sent = 0
        """Bytes written by the mood `huge`."""
        self.headers: dict[str, str] = {}
        """Of the last request, names in lower case."""
        self.peers: set[object] = set()
        """Addresses that connections came from."""
        self.gate = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    def endpoint(self, name: str, **labels: str) -> Endpoint:
        return Endpoint(name, "127.0.0.1", self.port, labels=labels)

    async def come_back(self) -> None:
        """Listen, after a `vanish` on the same port as before."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/elsewhere", self._elsewhere)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def vanish(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.models, content_type="application/json")

    async def _elsewhere(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.page)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        self.scrapes += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        if request.transport is not None:
            self.peers.add(request.transport.get_extra_info("peername"))
        match self.mood:
            case "hang":
                await asyncio.sleep(3600)
            case "gated":
                await self.gate.wait()
            case "error":
                return web.Response(status=500, body=self.page)
            case "redirect":
                return web.Response(status=302, headers={"Location": "/elsewhere"})
            case "bomb":
                # Members of a gzip file follow each other, so one of 1 MiB serves for all.
                packed = gzip.compress(self.page) + gzip.compress(b"\n" * MEBIBYTE) * HUGE_MEBIBYTES
                return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
            case "huge" | "drip":
                return await self._stream(request)
            case "boast":
                response = web.StreamResponse(headers={"Content-Length": str(1024 * MEBIBYTE)})
                await response.prepare(request)
                await asyncio.sleep(3600)
            case "nonsense" | "cut":
                return self._raw(request)
        return web.Response(body=self.page, headers={"Set-Cookie": "sticky=1"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        filler = b"# filler\n" * (MEBIBYTE // 9)
        chunks = [filler] * HUGE_MEBIBYTES if self.mood == "huge" else [b"#"] * 100_000
        for chunk in chunks:
            await response.write(chunk)
            self.sent += len(chunk)
            await asyncio.sleep(0 if self.mood == "huge" else 0.02)
        return response

    def _raw(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if self.mood == "nonsense":
            request.transport.write(b"\x00\xffSSH-2.0 what?\r\n\r\n")
        else:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.page)
            request.transport.write(head + self.page[: len(self.page) // 2])
        request.transport.close()
        return web.Response()
