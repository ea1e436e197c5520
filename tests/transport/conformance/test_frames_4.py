"""RFC 9113, 4 and 5.5: the shape of frames, their size, header blocks, what is unknown."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import PingFrame

from tests.fakes.http2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
    WHOLE,
    WINDOW_UPDATE,
    Client,
    frame,
    message,
    plain,
    request,
    settings,
)

TOO_LONG = bytes(16_385)


@pytest.mark.parametrize("stream", [0, 1, 7])
async def test_4_1_unknown_frames_are_ignored(client: Client, stream: int) -> None:
    await client.send(frame(UNKNOWN, stream, b"whatever", 0xFF))
    await client.works()


async def test_4_1_unused_flags_are_ignored(client: Client) -> None:
    await client.send(
        frame(SETTINGS, 0, b"", 0xFE),
        frame(PING, 0, bytes(8), 0xFE),
        frame(WINDOW_UPDATE, 0, b"\0\0\1\0", 0xFF),
        frame(HEADERS, 1, plain(request()), END_HEADERS | 0xD2),
        frame(DATA, 1, message(b"hello"), END_STREAM | 0xF6),
    )
    assert (await client.response(1)).messages == [b"hello"]


async def test_4_1_the_reserved_bit_is_ignored(client: Client) -> None:
    call = bytearray(client.headers(1))
    call[5] |= 0x80
    body = bytearray(frame(DATA, 1, message(b"hello"), END_STREAM))
    body[5] |= 0x80
    ping = bytearray(frame(PING, 0, b"reserved"))
    ping[5] |= 0x80
    await client.send(bytes(ping), bytes(call), bytes(body))
    assert (await client.response(1)).messages == [b"hello"]
    assert any(isinstance(came, PingFrame) for came in client.frames)


async def test_4_2_a_frame_of_2_to_the_14_is_taken(client: Client) -> None:
    data = bytes(16_384 - 5)
    await client.send(client.headers(1), frame(DATA, 1, message(data), END_STREAM))
    assert (await client.response(1)).messages == [data]


async def test_4_2_a_header_frame_of_2_to_the_14_is_taken(client: Client) -> None:
    block = plain(request())
    more = 16_384 - len(block)
    block += plain([("x", "y" * (more - 6))])
    assert len(block) == 16_384
    await client.send(frame(HEADERS, 1, block, END_HEADERS))
    await client.send(frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await client.response(1)).messages == [b"hello"]


@pytest.mark.parametrize(
    "long",
    [
        pytest.param(frame(DATA, 1, TOO_LONG), id="4.2-data"),
        pytest.param(frame(HEADERS, 3, TOO_LONG, WHOLE), id="4.2-headers"),
        pytest.param(frame(SETTINGS, 0, TOO_LONG), id="4.2-settings"),
        pytest.param(frame(PING, 0, TOO_LONG), id="4.2-ping"),
        pytest.param(frame(GOAWAY, 0, TOO_LONG), id="4.2-goaway"),
        pytest.param(frame(UNKNOWN, 0, TOO_LONG), id="4.2-unknown"),
        pytest.param(
            frame(HEADERS, 3, plain(request())) + frame(CONTINUATION, 3, TOO_LONG, END_HEADERS),
            id="4.2-continuation",
        ),
        pytest.param(frame(RST_STREAM, 1, b"\0\0\0"), id="4.2-too-small-for-its-fields"),
    ],
)
async def test_a_frame_beyond_the_limit_is_a_frame_size_error(client: Client, long: bytes) -> None:
    await client.send(client.headers(1), long)
    await client.breaks(ErrorCodes.FRAME_SIZE_ERROR)


async def test_4_2_no_frame_is_larger_than_the_client_takes(client: Client) -> None:
    data = bytes(40_000)
    await client.send(client.headers(1), frame(DATA, 1, message(data)[:16_384]))
    await client.send(frame(DATA, 1, message(data)[16_384:32_768]))
    await client.send(frame(DATA, 1, message(data)[32_768:], END_STREAM))
    assert (await client.response(1)).messages == [data]  # each frame's length is asserted on arrival


async def test_4_2_larger_frames_are_sent_only_within_the_clients_setting(client: Client) -> None:
    client.largest = 20_000
    await client.send(settings((5, 20_000)))
    await client.settled()
    await client.send(client.call(1, b"60000", "/test.Talk/Swell"))
    assert len((await client.response(1)).body) == 60_005


async def test_4_3_a_header_block_may_be_split_anywhere(client: Client) -> None:
    block = plain(request())
    for at in range(0, len(block) + 1, 7):
        stream = 1 + 2 * at
        await client.send(
            frame(HEADERS, stream, block[:at]),
            frame(CONTINUATION, stream, b""),
            frame(CONTINUATION, stream, block[at:], END_HEADERS),
            frame(DATA, stream, message(b"hello"), END_STREAM),
        )
        assert (await client.response(stream)).messages == [b"hello"]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(frame(PING, 0, bytes(8)), id="4.3-ping"),
        pytest.param(settings(), id="4.3-settings"),
        pytest.param(frame(DATA, 1, b"x"), id="4.3-data-of-another-stream"),
        pytest.param(frame(DATA, 3, b"x"), id="4.3-data"),
        pytest.param(frame(PRIORITY, 3, bytes(5)), id="4.3-priority"),
        pytest.param(frame(WINDOW_UPDATE, 0, b"\0\0\1\0"), id="4.3-window-update"),
        pytest.param(frame(RST_STREAM, 3, bytes(4)), id="4.3-rst-stream"),
        pytest.param(frame(GOAWAY, 0, bytes(8)), id="4.3-goaway"),
        pytest.param(frame(HEADERS, 5, plain(request()), WHOLE), id="4.3-headers-of-another-stream"),
        pytest.param(frame(HEADERS, 3, plain(request()), WHOLE), id="4.3-headers"),
        pytest.param(frame(CONTINUATION, 1, b"", END_HEADERS), id="4.3-continuation-of-another-stream"),
        pytest.param(frame(CONTINUATION, 0, b"", END_HEADERS), id="4.3-continuation-of-no-stream"),
        pytest.param(frame(UNKNOWN, 3), id="5.5-unknown-frame"),
    ],
)
async def test_nothing_comes_between_the_frames_of_a_block(client: Client, between: bytes) -> None:
    await client.send(client.headers(1), frame(HEADERS, 3, plain(request())), between)
    await client.breaks(ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="7541-6.1-index-0"),
        pytest.param(b"\xbf\xff\xff\x03", id="7541-2.3.3-index-beyond-the-tables"),
        pytest.param(b"\xfe", id="7541-2.3.3-index-of-an-empty-place"),
        pytest.param(b"\x00\x05ab", id="7541-5.2-string-breaks-off"),
        pytest.param(b"\x00\x81\xff\x01a", id="7541-5.2-padding-of-8-bits"),
        pytest.param(b"\x00\x82\x1f\xff\x01a", id="7541-5.2-padding-longer-than-7-bits"),
        pytest.param(b"\x00\x81\x18\x01a", id="7541-5.2-padding-of-zeros"),
        pytest.param(b"\x00\x84\xff\xff\xff\xff\x01a", id="7541-5.2-end-of-string-symbol"),
        pytest.param(b"\x3f\xe2\x1f", id="7541-6.3-size-beyond-the-setting"),
        pytest.param(b"\x82\x20", id="7541-4.2-size-update-after-a-field"),
        pytest.param(b"\xff" + b"\xff" * 20 + b"\x01", id="7541-5.1-integer-too-long"),
        pytest.param(b"\xff\x80", id="7541-5.1-integer-breaks-off"),
        pytest.param(b"\x40", id="7541-6.2-field-breaks-off"),
    ],
)
@pytest.mark.parametrize("place", ["request", "trailers"])
async def test_4_3_a_block_that_cannot_be_decoded_ends_the_connection(
    client: Client, block: bytes, place: str
) -> None:
    if place == "trailers":
        await client.send(client.headers(1))
    await client.send(frame(HEADERS, 1, block, WHOLE))
    await client.breaks(ErrorCodes.COMPRESSION_ERROR)


async def test_4_3_a_block_that_ends_in_a_continuation_is_decoded_as_one(client: Client) -> None:
    await client.send(frame(HEADERS, 1, b"\x82"), frame(CONTINUATION, 1, b"\x80", END_HEADERS))
    await client.breaks(ErrorCodes.COMPRESSION_ERROR)


async def test_4_3_blocks_of_a_stream_that_was_refused_change_the_table(client: Client) -> None:
    malformed = [*request(), ("x-grows", "the table"), ("Bad", "name")]
    await client.send(client.headers(1, malformed))
    await client.resets(1, ErrorCodes.PROTOCOL_ERROR)
    await client.send(client.headers(1, [("x-late", "trailers")], WHOLE))
    await client.send(client.headers(2001, request("/test.Talk/Echo", ("x-late", "trailers"))))
    await client.send(frame(DATA, 2001, message(b"hello"), END_STREAM))
    assert (await client.response(2001)).messages == [b"hello"]


async def test_4_3_1_the_table_may_be_resized_at_the_start_of_a_block(client: Client) -> None:
    await client.send(client.call(1))
    await client.response(1)
    for stream, size in ((3, 0), (5, 4096), (7, 100)):
        client.encoder.header_table_size = size
        await client.send(client.call(stream))
        assert (await client.response(stream)).messages == [b"hello"]


@pytest.mark.parametrize("size", [0, 100, 4096, 65_536])
async def test_4_3_1_the_clients_table_size_is_held_to(port: int, size: int) -> None:
    client = await Client.connect(port)
    client.decoder.max_allowed_table_size = size
    client.decoder.header_table_size = min(size, 4096)
    await client.greet((1, size))
    for stream in (1, 3, 5):
        await client.send(client.call(stream))
        assert (await client.response(stream)).status == 0
    await client.close()


async def test_4_3_1_the_table_size_may_shrink_while_the_connection_lasts(client: Client) -> None:
    await client.works()
    await client.send(settings((1, 0)))
    await client.settled()
    client.decoder.max_allowed_table_size = 0  # decoding asserts that the server's table is within
    await client.works()
