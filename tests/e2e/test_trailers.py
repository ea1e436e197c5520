"""HTTP/1.1 trailers, both ways, byte for byte on real connections."""

import asyncio
from pathlib import Path
from typing import Final

from tests.fakes.stack import COMPLETIONS, Building

ANSWER_SECONDS: Final = 20.0
END: Final = b"\r\n\r\n"
HEAD: Final = (
    f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nte: trailers\r\n"
    "transfer-encoding: chunked\r\n\r\n"
).encode()
HALVES: Final = (b'{"model": "tiny", ', b'"prompt": "hi"}')
ANSWER: Final = (b'{"model": "tiny", "choices": [],', b' "object": "text_completion"}')


def chunked(parts: tuple[bytes, ...], trailer: bytes) -> bytes:
    """A chunked body that ends with one trailer."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + END


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """A chunked body → what it holds, and its trailers."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, data
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]


class Wire:
    """A replica that keeps the bytes of the request, and answers with trailers once it has seen some."""

    def __init__(self) -> None:
        self.head = b""
        self.rest = b""
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(END)
        if head.startswith(b"POST"):
            self.head, self.rest = head, await reader.readuntil(END)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"transfer-encoding: chunked" + END + chunked(ANSWER, b"x-checksum: 42"))
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close" + END)
        await writer.drain()
        writer.close()


async def test_a_chunked_request_with_trailers_gets_an_answer_with_trailers(
    stack: Building, tmp_path: Path
) -> None:
    """A body that has trailers ends with them, without a last body message."""
    wire = Wire()
    place = await wire.start()
    try:
        async with stack(tmp_path, names=(), others=(place,)) as gateway, asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.envoy.port)
            writer.write(HEAD)
            writer.write(chunked(HALVES, b"x-digest: 7"))
            answer_head = await reader.readuntil(END)
            answer = unchunked(await reader.readuntil(END))
            writer.close()
            await gateway.settles(0, gateway.in_flight)
    finally:
        await wire.stop()

    assert unchunked(wire.rest) == (b"".join(HALVES), b"x-digest: 7" + END)
    assert answer_head.startswith(b"HTTP/1.1 200 OK")
    assert answer == (b"".join(ANSWER), b"x-checksum: 42" + END)
