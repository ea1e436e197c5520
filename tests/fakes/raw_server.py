"""A server that answers every request with the very bytes that it is told to, and then does as told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def stream(*parts: bytes, ended: bool = True) -> bytes:
    """A streamed answer of these chunks; not `ended`: the connection breaks off after them."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return _STREAM + chunks + (b"0\r\n\r\n" if ended else b"")


def whole(status: str, body: bytes, kind: str = "application/json") -> bytes:
    """An answer in one piece; `status` with its reason."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + body


@asynccontextmanager
async def answering(*answers: bytes, hang: bool = False) -> AsyncIterator[tuple[str, Sequence[bytes]]]:
    """Answers requests with these in turn, the last one for ever; yields the address and what was asked.

    `hang`: it keeps the connection open after an answer, and says no more.
    """
    asked: list[bytes] = []
    hung = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await _request(reader))
            writer.write(answers[min(len(asked), len(answers)) - 1])
            await writer.drain()
            if hang:
                await hung.wait()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        hung.set()
        server.close()
        await server.wait_closed()


async def _request(reader: asyncio.StreamReader) -> bytes:
    """Head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().splitlines():
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head
