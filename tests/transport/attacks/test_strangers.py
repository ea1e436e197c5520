"""What is no HTTP/2, on the port: answered where an answer helps, and never served."""

import pytest

from tests.fakes.http2_client import PREFACE, Client
from tests.fakes.siege import MIB, siege


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /test.Talk/Echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: \r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
    ],
)
async def test_plain_http_1_is_told_what_this_port_speaks(text: bytes) -> None:
    async with siege() as under:
        stranger = await Client.connect(under.port)
        await stranger.send(text)
        answer = await stranger.reader.read()
        assert answer.startswith(b"HTTP/1.1 505 ")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(body) in head
        assert b"connection: close" in head
        await stranger.close()
        await under.attacker.close()
        await under.nobody_was_hurt()


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(bytes(MIB), id="zeros"),
        pytest.param(b"\xff" * MIB, id="ones"),
        pytest.param(PREFACE[:-1] + b"?" * MIB, id="almost-a-preface"),
        pytest.param(b"GET /" + b"a" * MIB, id="a-request-line-without-end"),
        pytest.param(b"\x16\x03\x01\x02\x00" + bytes(512), id="tls"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
    ],
)
async def test_a_bad_preface_ends_the_connection(noise: bytes) -> None:
    async with siege() as under:
        stranger = await Client.connect(under.port)
        under.measure()
        await stranger.send(noise)
        await stranger.over()
        await stranger.close()
        assert under.peak < 3 * MIB  # most of it the client's own
        await under.attacker.close()
        await under.nobody_was_hurt()


async def test_connections_that_come_and_go() -> None:
    async with siege() as under:
        under.measure()
        for _ in range(100):
            stranger = await Client.connect(under.port)
            await stranger.send(PREFACE)
            await stranger.close()
        await under.attacker.close()
        await under.nobody_was_hurt()
        assert len(under.server.peers) <= 3
