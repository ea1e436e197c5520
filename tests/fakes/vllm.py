"""A small engine for both legs of a request: remembers what reached it, and answers as it is told.

Out of the box it hands over transfer parameters when it is asked to prefill, and else answers in one piece
or as server-sent events, event by event when a test paces it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from tests.fakes.replica import Pace, Received

LARGEST_BODY: Final = 64 << 20
HANDED: Final = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_block_ids": [[1, 2]],
    "remote_engine_id": "engine-1",
    "remote_request_id": "cmpl-1",
    "remote_host": "127.0.0.1",
    "remote_port": 5600,
    "tp_size": 1,
}
"""What a prefill hands over."""

Reply = Callable[[web.Request, Received], Awaitable[web.StreamResponse]]


class Vllm:
    """One engine on a port of 127.0.0.1; a context manager."""

    def __init__(self, name: str = "engine", *, port: int = 0) -> None:
        self.name = name
        self.port = port
        self.received: list[Received] = []
        self.arrived = asyncio.Event()
        """Set with each request."""
        self.left = 0
        """Requests whose client went away before they were answered."""
        self.reply: Reply = self.complete
        """Answers everything."""
        self.pace: Pace | None = None
        self.cached = 3
        self.handed: Any = HANDED
        self.text = ("one ", "two ", "three ")
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[Any]:
        return [received.json for received in self.received]

    async def start(self, **tls: Any) -> None:
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=0.1,
            handler_cancellation=True,
            max_field_size=1 << 20,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, **tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = tuple((key.decode().lower(), value.decode()) for key, value in request.raw_headers)
        received = Received(request.method, request.raw_path, headers, await request.read())
        self.received.append(received)
        self.arrived.set()
        try:
            return await self.reply(request, received)
        except asyncio.CancelledError:
            self.left += 1
            raise

    # === ways of answering ===

    async def complete(self, request: web.Request, received: Received) -> web.StreamResponse:
        asked = received.json if received.body else {}
        if self.pace is not None and not asked.get("stream"):
            await self.pace.next()
        params = asked.get("kv_transfer_params") or {}
        if params.get("do_remote_decode"):
            return web.json_response(self.document("p", kv_transfer_params=self.handed))
        if asked.get("stream"):
            return await self.stream(request)
        return web.json_response(self.document("".join(self.text)))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for part in self.text:
            await self._paced()
            await response.write(event({"id": self.name, "choices": [{"index": 0, "text": part}]}))
        await self._paced()
        await response.write(event({"id": self.name, "choices": [], "usage": self.usage()}))
        await response.write(b"data: [DONE]\n\n")
        return response

    def document(self, text: str, **more: Any) -> dict[str, Any]:
        choices = [{"index": 0, "text": text, "finish_reason": "length"}]
        return {"id": self.name, "choices": choices, "usage": self.usage(), **more}

    def usage(self) -> dict[str, Any]:
        details = {"cached_tokens": self.cached}
        return {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": details}

    async def _paced(self) -> None:
        if self.pace is not None:
            await self.pace.next()


def event(document: Any) -> bytes:
    """A server-sent event."""
    return b"data: %b\n\n" % json.dumps(document).encode()


def status(code: int, text: str = "no", **headers: str) -> Reply:
    """Answers everything with this status."""

    async def reply(request: web.Request, received: Received) -> web.StreamResponse:
        return web.Response(
            status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return reply


async def hang(request: web.Request, received: Received) -> web.StreamResponse:
    """Never answers."""
    await asyncio.sleep(3600)
    raise AssertionError


async def cut(request: web.Request, received: Received) -> web.StreamResponse:
    """Closes the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
