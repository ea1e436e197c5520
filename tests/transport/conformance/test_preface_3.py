"""RFC 9113, 3: how a connection begins."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from tests.fakes.http2_client import (
    ACK,
    DATA,
    HEADERS,
    PING,
    PREFACE,
    UNKNOWN,
    WHOLE,
    Client,
    frame,
    plain,
    request,
    settings,
    window_update,
)


@pytest.fixture
async def stranger(port: int) -> Client:
    """A connection on which nothing has been said."""
    return await Client.connect(port)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(frame(PING, 0, bytes(8)), id="3.4-ping"),
        pytest.param(frame(HEADERS, 1, plain(request()), WHOLE), id="3.4-headers"),
        pytest.param(frame(DATA, 1, b"x"), id="3.4-data"),
        pytest.param(window_update(0, 1), id="3.4-window-update"),
        pytest.param(frame(UNKNOWN, 0), id="3.4-unknown-frame"),
        pytest.param(settings(flags=ACK), id="3.4-acknowledgement"),
    ],
)
async def test_settings_come_first(stranger: Client, first: bytes) -> None:
    await stranger.send(PREFACE, first)
    await stranger.breaks(ErrorCodes.PROTOCOL_ERROR, last=0)
    await stranger.close()


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", id="3.4-last-byte"),
        pytest.param(b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", id="3.4-version"),
        pytest.param(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", id="3.4-tls-on-a-plain-port"),
        pytest.param(settings(), id="3.4-no-preface"),
        pytest.param(bytes(24), id="3.4-zeros"),
    ],
)
async def test_a_wrong_preface_ends_the_connection(stranger: Client, start: bytes) -> None:
    await stranger.send(start)
    goodbye = await stranger.over()  # may be left out (3.4)
    assert goodbye is None or goodbye.error_code == ErrorCodes.PROTOCOL_ERROR
    await stranger.close()


async def test_3_4_the_servers_preface_is_settings_and_comes_first(stranger: Client) -> None:
    await stranger.send(PREFACE, settings())
    first = await stranger.frame()
    assert isinstance(first, SettingsFrame)
    assert not set(first.flags)
    await stranger.close()


async def test_3_4_settings_are_acknowledged_after_the_servers_preface(stranger: Client) -> None:
    await stranger.send(PREFACE, settings((4, 100)))
    first = await stranger.until(SettingsFrame)
    second = await stranger.until(SettingsFrame)
    assert (set(first.flags), set(second.flags)) == (set(), {"ACK"})
    await stranger.close()


async def test_3_4_frames_may_follow_before_the_servers_preface_has_come(stranger: Client) -> None:
    await stranger.send(PREFACE, settings(), stranger.call(1))
    assert (await stranger.response(1)).messages == [b"hello"]
    assert isinstance(stranger.frames[0], SettingsFrame)
    await stranger.close()


async def test_3_4_the_preface_may_come_byte_by_byte(stranger: Client) -> None:
    for byte in PREFACE + settings():
        await stranger.send(bytes([byte]))
    await stranger.settled()
    await stranger.works()
    await stranger.close()


async def test_3_3_prior_knowledge_is_enough_on_a_plain_port(stranger: Client) -> None:
    await stranger.greet()
    await stranger.works()
    await stranger.close()
