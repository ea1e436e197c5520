"""RFC 9113, 5.2 and 6.9: windows of both sides."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, SettingsFrame, WindowUpdateFrame

from tests.fakes.http2_client import (
    DATA,
    END_STREAM,
    PADDED,
    Client,
    frame,
    message,
    request,
    rst_stream,
    settings,
    window_update,
)
from tests.fakes.talking import Talk, talking

SWELL = "/test.Talk/Swell"
MUTE = "/test.Talk/Mute"


async def received(client: Client, stream: int) -> int:
    """Bytes of a stream, when no more come."""
    await client.sync()
    return len(client.responses[stream].body)


# === what the server sends ===


async def test_6_9_1_the_default_window_of_a_stream_is_not_exceeded(client: Client) -> None:
    await client.send(window_update(0, 1 << 20), client.call(1, b"100000", SWELL))
    assert await received(client, 1) == 65_535
    await client.send(window_update(1, 10))
    assert await received(client, 1) == 65_545
    await client.send(window_update(1, 1 << 20))
    assert len((await client.response(1)).body) == 100_005


async def test_6_9_1_the_window_of_the_connection_is_not_exceeded(client: Client) -> None:
    await client.send(
        settings((4, 1 << 20)), client.call(1, b"50000", SWELL), client.call(3, b"50000", SWELL)
    )
    assert await received(client, 1) + await received(client, 3) == 65_535
    await client.send(window_update(0, 1))
    assert await received(client, 1) + await received(client, 3) == 65_536
    await client.send(window_update(0, 1 << 20))
    assert len((await client.response(1)).body) == 50_005
    assert len((await client.response(3)).body) == 50_005


async def test_6_9_1_a_stream_without_window_does_not_hold_up_others(client: Client) -> None:
    await client.send(settings((4, 0)), client.call(1), client.call(3, b"three"))
    await client.send(window_update(3, 100))
    assert (await client.response(3)).messages == [b"three"]
    assert client.responses[1].body == b""


async def test_6_9_1_trailers_need_no_window(client: Client) -> None:
    await client.send(settings((4, 0)), client.headers(1, request("/no.Such/One"), 0x5))
    assert (await client.response(1)).status == 12


async def test_6_9_2_a_new_initial_window_changes_open_streams(client: Client) -> None:
    await client.send(window_update(0, 1 << 20), settings((4, 10)))
    await client.send(client.call(1, b"1000", SWELL))
    assert await received(client, 1) == 10
    await client.send(settings((4, 110)))
    assert await received(client, 1) == 110
    await client.send(settings((4, 1 << 20)))
    assert len((await client.response(1)).body) == 1005


async def test_6_9_2_a_window_may_become_negative(client: Client) -> None:
    await client.send(settings((4, 100)), client.call(1, b"1000", SWELL))
    assert await received(client, 1) == 100
    await client.send(settings((4, 20)))  # 80 below nothing
    assert await received(client, 1) == 100
    await client.send(window_update(1, 80))  # nothing
    assert await received(client, 1) == 100
    await client.send(window_update(1, 1))
    assert await received(client, 1) == 101
    await client.send(settings((4, 0)), window_update(1, 19))
    assert await received(client, 1) == 101
    await client.send(settings((4, 1 << 20)))
    assert len((await client.response(1)).body) == 1005


async def test_6_9_2_a_negative_window_while_the_connection_has_none(client: Client) -> None:
    """The stream waits for the connection first, then for itself."""
    await client.send(settings((4, 1 << 20)), client.call(1, b"100000", SWELL))
    assert await received(client, 1) == 65_535
    await client.send(settings((4, 50_000)), window_update(0, 1 << 20))
    assert await received(client, 1) == 65_535
    await client.send(window_update(1, 15_535 + 10))
    assert await received(client, 1) == 65_545
    assert all(frame.data for frame in client.frames if isinstance(frame, DataFrame))


async def test_6_9_2_settings_do_not_change_the_window_of_the_connection(client: Client) -> None:
    await client.send(settings((4, 2**31 - 1)), client.call(1, b"100000", SWELL))
    assert await received(client, 1) == 65_535


async def test_6_9_1_a_window_may_be_as_large_as_it_can(client: Client) -> None:
    await client.send(client.headers(1), window_update(0, 2**31 - 1 - 65_535))
    await client.send(window_update(1, 2**31 - 1 - 65_535))
    await client.send(frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await client.response(1)).messages == [b"hello"]


async def test_6_9_a_reset_stream_gives_its_window_back_to_nobody(client: Client) -> None:
    """What a reset stream has left unsent costs the connection's window nothing."""
    await client.send(settings((4, 0)), client.call(1, b"60000", SWELL))
    await client.sync()
    await client.send(rst_stream(1), settings((4, 1 << 20)), client.call(3, b"60000", SWELL))
    assert len((await client.response(3)).body) == 60_005


# === what the server takes ===


async def test_6_9_1_more_than_the_window_of_a_stream(talk: Talk) -> None:
    async with talking(talk, stream_window=1000) as (_, port):
        client = await (await Client.connect(port)).greet()
        await client.send(client.headers(1, request(MUTE)), frame(DATA, 1, bytes(1001)))
        await client.resets(1, ErrorCodes.FLOW_CONTROL_ERROR)
        await client.close()


async def test_6_9_1_more_than_the_window_of_the_connection(talk: Talk) -> None:
    async with talking(talk, stream_window=1 << 20, connection_window=65_535, connection_buffer=-1) as (
        _,
        port,
    ):
        client = await (await Client.connect(port)).greet()
        await client.send(
            client.headers(1, request(MUTE)), *(frame(DATA, 1, bytes(16_384)) for _ in range(4))
        )
        await client.breaks(ErrorCodes.FLOW_CONTROL_ERROR)
        await client.close()


async def test_6_9_1_padding_counts(talk: Talk) -> None:
    async with talking(talk, stream_window=1000) as (_, port):
        client = await (await Client.connect(port)).greet()
        padded = frame(DATA, 1, b"\xff" + b"x" + bytes(255), PADDED)
        await client.send(client.headers(1, request(MUTE)), frame(DATA, 1, bytes(499)), padded)
        update = await client.until(WindowUpdateFrame, 1)
        assert isinstance(update, WindowUpdateFrame)
        assert update.window_increment == 499 + 257
        await client.close()


async def test_6_9_2_frames_that_come_before_our_settings_are_taken_go_by_the_default(talk: Talk) -> None:
    """6.9.3: a smaller window holds once it is acknowledged."""
    async with talking(talk, stream_window=1000) as (_, port):
        client = await Client.connect(port)
        data = message(bytes(10_000))
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings(), client.headers(1))
        await client.send(frame(DATA, 1, data, END_STREAM))
        assert (await client.response(1)).messages == [bytes(10_000)]
        await client.close()


@pytest.mark.parametrize("window", [1, 2, 100, 65_535, 1 << 20])
async def test_5_2_the_window_is_opened_again_as_data_is_taken(talk: Talk, window: int) -> None:
    """A client that never sends more than it may gets everything through."""
    async with talking(talk, stream_window=window) as (_, port):
        client = await (await Client.connect(port)).greet((4, 1 << 24))
        first = next(came for came in client.frames if isinstance(came, SettingsFrame))
        left = first.settings[4]
        assert left == window
        await client.send(window_update(0, 1 << 24), client.headers(1))
        data, at = message(bytes(min(4 * window, 300_000))), 0
        while at < len(data):
            part = data[at : at + min(left, 16_384)]
            at, left = at + len(part), left - len(part)
            await client.send(frame(DATA, 1, part, END_STREAM if at == len(data) else 0))
            while at < len(data) and left <= 0:
                update = await client.until(WindowUpdateFrame, 1)
                assert isinstance(update, WindowUpdateFrame)
                left += update.window_increment
        assert (await client.response(1)).messages == [data[5:]]
        await client.close()


@pytest.mark.parametrize("wrong", ["closed", "half-closed", "malformed", "over"])
async def test_6_9_data_counts_for_the_connection_even_if_it_is_in_error(talk: Talk, wrong: str) -> None:
    async with talking(talk, connection_window=65_535, stream_window=1 << 20) as (_, port):
        client = await (await Client.connect(port)).greet()
        fields = request(MUTE, *([("Bad", "name")] if wrong == "malformed" else []))
        await client.send(client.headers(1, fields, 0x5 if wrong == "half-closed" else 0x4))
        if wrong == "closed":
            await client.send(rst_stream(1))
        for _ in range(2):
            await client.send(frame(DATA, 1, bytes(16_384), END_STREAM if wrong == "over" else 0))
        update = await client.until(WindowUpdateFrame, 0)
        assert isinstance(update, WindowUpdateFrame)
        assert update.window_increment == 32_768
        await client.close()
