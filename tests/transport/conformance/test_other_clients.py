"""Whole conversations with clients that others wrote: the h2 library, and nghttp2's tools where they are."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from tests.fakes.http2_client import message, request
from tests.fakes.talking import Talk, talking

Events = list[h2.events.Event]


class Library:
    """A client whose every rule is h2's: it raises when the server breaks one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.machine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.body: dict[int, bytes] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.ended: set[int] = set()

    def flush(self) -> None:
        self.writer.write(self.machine.data_to_send())

    async def step(self) -> None:
        async with asyncio.timeout(3.0):
            data = await self.reader.read(65_536)
        assert data, "the connection is over"
        for event in self.machine.receive_data(data):
            self._note(event)
        self.flush()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            assert event.stream_id is not None
            self.body[event.stream_id] = self.body.get(event.stream_id, b"") + (event.data or b"")
            self.machine.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id or 0] = {str(k): str(v) for k, v in event.headers or []}
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id or 0)

    async def upload(self, stream: int, data: bytes) -> None:
        """As fast as the windows allow."""
        while data:
            size = min(self.machine.local_flow_control_window(stream), 16_384, len(data))
            if size:
                self.machine.send_data(stream, data[:size])
                data = data[size:]
                self.flush()
            else:
                await self.step()
        self.machine.end_stream(stream)
        self.flush()


@pytest.fixture
async def library(port: int) -> AsyncIterator[Library]:
    client = Library(*await asyncio.open_connection("127.0.0.1", port))
    client.machine.initiate_connection()
    client.flush()
    yield client
    client.writer.close()
    await client.writer.wait_closed()


async def test_h2_many_calls_on_one_connection(library: Library) -> None:
    streams = range(1, 200, 2)
    for stream in streams:
        library.machine.send_headers(stream, request())
        library.machine.send_data(stream, message(b"%d" % stream), end_stream=True)
    library.flush()
    while len(library.ended) < len(streams):
        await library.step()
    assert library.body == {stream: message(b"%d" % stream) for stream in streams}
    assert all(found["grpc-status"] == "0" for found in library.trailers.values())


async def test_h2_a_large_message_both_ways(library: Library) -> None:
    data = message(bytes(range(256)) * 12_000)
    library.machine.send_headers(1, request())
    await library.upload(1, data)
    while 1 not in library.ended:
        await library.step()
    assert library.body[1] == data


async def test_h2_settings_change_while_calls_go_on(library: Library) -> None:
    for stream, window in ((1, 10), (3, 100_000), (5, 0), (7, 65_535)):
        library.machine.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        library.machine.send_headers(stream, request("/test.Talk/Swell"))
        library.machine.send_data(stream, message(b"70000"), end_stream=True)
        library.flush()
    while len(library.ended) < 4:
        await library.step()
    assert {len(body) for body in library.body.values()} == {70_005}


async def tool(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20.0):
        out, _ = await process.communicate()
    return out.decode()


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")
async def test_nghttp2_h2load(talk: Talk, tmp_path: Path) -> None:
    body = tmp_path / "message"
    body.write_bytes(message(bytes(5_000)))
    async with talking(talk) as (_, port):
        said = await tool(
            "h2load", "-n", "500", "-c", "2", "-m", "20", "-d", str(body), "-H",
            "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}/test.Talk/Echo",
        )  # fmt: skip
    assert re.search(r"500 succeeded, 0 failed, 0 errored", said), said
    assert talk.opened == talk.closed == 500


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="nghttp is not installed")
async def test_nghttp2_nghttp(talk: Talk, tmp_path: Path) -> None:
    body = tmp_path / "message"
    body.write_bytes(message(b"hello"))
    async with talking(talk) as (_, port):
        said = await tool(
            "nghttp", "-v", "-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"http://127.0.0.1:{port}/test.Talk/Echo",
        )  # fmt: skip
    assert "grpc-status: 0" in said
    assert "hello" in said
    assert "recv RST_STREAM" not in said
