"""A small real HTTP/1.1 model server, to stand behind a real proxy.

It answers like vLLM where the picker looks (model, usage, server-sent events, metrics) and remembers what
reached it, byte for byte. A test paces its streams by hand, and may kill it in the middle of an answer.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import WSMsgType, web

LARGEST_BODY: Final = 64 << 20
PROMPT_TOKENS: Final = 7


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; header names in lower case, repeated ones as often as they came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of one header."""
        return [value for key, value in self.headers if key == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Pace:
    """Lets a stream go on chunk by chunk: it sends as many as were allowed, then waits."""

    _allowed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def allow(self, chunks: int) -> None:
        for _ in range(chunks):
            self._allowed.release()

    async def next(self) -> None:
        await self._allowed.acquire()


class Replica:
    """One server. What it answers with may be changed at any time."""

    def __init__(self, name: str, *, port: int = 0) -> None:
        self.name = name
        self.port = port
        """0: a free one, known after the start."""
        self.received: list[Received] = []
        """All but those for the metrics page."""
        self.chunks = 4
        self.delay = 0.0
        """Seconds before each chunk."""
        self.pace: Pace | None = None
        self.usage = True
        self.text = "hello"
        self.headers: tuple[tuple[str, str], ...] = ()
        """Added to each answer; names may repeat."""
        self.waiting, self.running, self.kv = 0.0, 0.0, 0.0
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.2)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close in good order."""
        await self._runner.cleanup()

    async def die(self) -> None:
        """Be gone as a killed process is: nothing listens, and every connection is reset."""
        for site in tuple(self._runner.sites):
            await site.stop()
        server = self._runner.server
        for protocol in server.connections if server is not None else ():
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                transport.abort()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/ws", self._echo)
        application.router.add_post("/{path:.*}", self._complete)
        application.router.add_get("/{path:.*}", self._missing)
        return application

    # === routes ===

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        received = await self._remember(request)
        asked = received.json
        if asked.get("stream"):
            return await self._stream(request, asked)
        text = asked["prompt"] if asked.get("echo") else self.text
        body = json.dumps(self._document(asked, text, usage=True)).encode()
        response = web.Response(body=body, content_type="application/json")
        self._sign(response)
        response.headers["x-digest"] = hashlib.sha256(body).hexdigest()
        return response

    async def _stream(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        self._sign(response)
        await response.prepare(request)
        for number in range(self.chunks):
            await self._wait()
            await response.write(self.event(asked, number))
        if self.usage:
            await response.write(_event(self._document(asked, None, usage=True)))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _models(self, request: web.Request) -> web.StreamResponse:
        await self._remember(request)
        response = web.json_response({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        self._sign(response)
        return response

    async def _missing(self, request: web.Request) -> web.StreamResponse:
        await self._remember(request)
        response = web.json_response({"detail": "Not Found"}, status=404)
        self._sign(response)
        return response

    async def _metrics(self, _: web.Request) -> web.Response:
        labels = '{engine="0",model_name="tiny"}'
        lines = (
            f"vllm:num_requests_waiting{labels} {self.waiting}",
            f"vllm:num_requests_running{labels} {self.running}",
            f"vllm:kv_cache_usage_perc{labels} {self.kv}",
            'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="256"} 1.0',
        )
        return web.Response(
            text="\n".join(lines) + "\n", headers={"content-type": "text/plain; version=0.0.4"}
        )

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        await self._remember(request)
        socket = web.WebSocketResponse()
        self._sign(socket)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    # === what is said ===

    def event(self, asked: dict[str, Any], number: int) -> bytes:
        """One server-sent event of a streamed answer, as sent."""
        return _event(self._document(asked, f"{number} ", usage=False))

    def _document(self, asked: dict[str, Any], text: str | None, *, usage: bool) -> dict[str, Any]:
        choices = [] if text is None else [{"index": 0, "text": text, "finish_reason": None}]
        document = {"id": "cmpl-1", "object": "text_completion", "model": asked["model"], "choices": choices}
        if usage:
            total = PROMPT_TOKENS + self.chunks
            counts = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": self.chunks, "total_tokens": total}
            document["usage"] = counts
        return document

    def _sign(self, response: web.StreamResponse) -> None:
        response.headers["x-replica"] = self.name
        for name, value in self.headers:
            response.headers.add(name, value)

    async def _wait(self) -> None:
        if self.pace is not None:
            await self.pace.next()
        if self.delay:
            await asyncio.sleep(self.delay)

    async def _remember(self, request: web.Request) -> Received:
        headers = tuple((key.decode().lower(), value.decode()) for key, value in request.raw_headers)
        received = Received(request.method, request.path_qs, headers, await request.read())
        self.received.append(received)
        return received


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def replicas(*names: str) -> AsyncIterator[list[Replica]]:
    """Some replicas on free ports, closed at the end."""
    fleet = [Replica(name) for name in names]
    try:
        for replica in fleet:
            await replica.start()
        yield fleet
    finally:
        for replica in fleet:
            await replica.stop()
