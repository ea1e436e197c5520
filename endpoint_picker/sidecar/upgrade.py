"""WebSockets: messages pass in both directions until either side ends."""

import asyncio
from typing import Any

import aiohttp
from aiohttp import web

from endpoint_picker import aio
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.headers import with_fields

OF_THE_HANDSHAKE = (
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
)
"""Fields that each side agrees on for itself."""

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


def wanted(request: web.Request) -> bool:
    """Whether the client asks for a WebSocket."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


def protocols(request: web.Request) -> list[str]:
    """What the client would speak over it."""
    values = request.headers.getall("Sec-WebSocket-Protocol", ())
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


async def bridge(call: Call, engine: aiohttp.ClientWebSocketResponse, largest: int) -> web.StreamResponse:
    """Join the client to an engine's socket; `largest` bounds a message (bytes)."""
    spoken = (engine.protocol,) if engine.protocol else ()
    client = web.WebSocketResponse(protocols=spoken, max_msg_size=largest)
    await client.prepare(call.request)
    tasks = aio.Tasks()
    ways = {
        tasks.start("to the engine", _pass(client, engine)),
        tasks.start("to the client", _pass(engine, client)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await tasks.close()
        await engine.close(code=client.close_code or 1000)
        await client.close(code=engine.close_code or 1000)
    return client


def onward(call: Call) -> Any:
    """The header fields of our own handshake."""
    return with_fields(call.headers, {}, OF_THE_HANDSHAKE)


async def _pass(source: Socket, sink: Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
