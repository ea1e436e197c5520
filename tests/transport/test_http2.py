"""The shell: sockets, the end of the server, and defects of its own."""

import asyncio
import logging
import socket

import pytest

from endpoint_picker.transport import http2
from endpoint_picker.transport.connection import Connection
from endpoint_picker.transport.http2 import Server
from endpoint_picker.transport.limits import Limits
from tests.fakes.http2_client import DATA, END_STREAM, Client, frame, message
from tests.fakes.talking import Talk, talking


async def gone(server: Server) -> None:
    async with asyncio.timeout(3.0):
        while server.peers:
            await asyncio.sleep(0.005)


async def test_open_calls_are_counted(talk: Talk) -> None:
    async with talking(talk) as (server, port):
        client = await (await Client.connect(port)).greet()
        assert server.open == 0
        await client.send(client.headers(1), client.headers(3))
        await client.sync()
        assert server.open == 2
        await client.close()
        await gone(server)
        assert (server.open, talk.closed) == (0, 2)


async def test_a_client_that_says_no_more_is_let_go(talk: Talk) -> None:
    async with talking(talk) as (server, port):
        client = await (await Client.connect(port)).greet()
        await client.send(client.headers(1))
        await client.sync()
        client.writer.write_eof()
        await client.over()
        await gone(server)
        assert talk.closed == 1
        await client.close()


async def test_a_client_that_vanishes_takes_its_calls_along(talk: Talk) -> None:
    async with talking(talk) as (server, port):
        client = await (await Client.connect(port)).greet()
        await client.send(client.headers(1))
        await client.sync()
        linger = (1).to_bytes(4, "little") + bytes(4)
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.writer.transport.abort()
        await gone(server)
        assert talk.closed == 1
        await client.close()


async def test_a_server_without_clients_stops_at_once_and_twice(talk: Talk) -> None:
    server = Server(talk.services(), Limits())
    await server.start(0)
    async with asyncio.timeout(1.0):
        await server.stop(10.0)
        await server.stop(10.0)


async def test_two_servers_cannot_share_a_port(talk: Talk) -> None:
    async with talking(talk) as (_, port):
        with pytest.raises(OSError, match="in use"):
            await Server({}, Limits()).start(port)


async def test_a_defect_costs_one_connection(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(talk) as (server, port):
        client = await (await Client.connect(port)).greet()
        other = await (await Client.connect(port)).greet()
        await client.send(client.headers(1))
        await client.sync()

        def fails(self: Connection, data: bytes, now: float) -> None:
            raise ZeroDivisionError("a defect")

        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, http2.__name__):
            patch.setattr(Connection, "receive", fails)
            await client.send(frame(DATA, 1, message(b"x"), END_STREAM))
            assert await client.over() is None
        assert "a connection failed" in caplog.text
        assert talk.closed == 1
        await other.works()
        await client.close()
        await other.close()
        await gone(server)


async def test_a_deadline_is_answered_without_a_word_from_the_client(talk: Talk) -> None:
    async with talking(talk) as (_, port):
        client = await (await Client.connect(port)).greet()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Talk/Mute")]
        fields += [("content-type", "application/grpc"), ("grpc-timeout", "20m")]
        await client.send(client.headers(1, fields))
        assert (await client.response(1)).status == 4
        await client.close()
