"""RFC 9113, 6: each type of frame; flow control, in both directions, is in test_flow_control_6_9."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame, PingFrame, RstStreamFrame, SettingsFrame

from tests.fakes.http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WHOLE,
    WINDOW_UPDATE,
    Client,
    frame,
    goaway,
    message,
    plain,
    request,
    rst_stream,
    settings,
    window_update,
)
from tests.fakes.talking import Talk

BLOCK = plain(request())
ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 4, 5
PROTOCOL, SIZE, FLOW = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param(frame(DATA, 0, b"x"), PROTOCOL, id="6.1-data-on-stream-0"),
        pytest.param(frame(DATA, 1, b"\x05hell", PADDED), PROTOCOL, id="6.1-padding-of-the-whole-payload"),
        pytest.param(frame(DATA, 1, b"\xffhell", PADDED), PROTOCOL, id="6.1-padding-beyond-the-payload"),
        pytest.param(frame(DATA, 1, b"", PADDED), SIZE, id="6.1-padded-and-empty"),
        pytest.param(frame(HEADERS, 0, BLOCK, WHOLE), PROTOCOL, id="6.2-headers-on-stream-0"),
        pytest.param(
            frame(HEADERS, 3, bytes([len(BLOCK) + 1]) + BLOCK, WHOLE | PADDED),
            PROTOCOL,
            id="6.2-padding-of-the-whole-payload",
        ),
        pytest.param(frame(HEADERS, 3, b"\xff" + BLOCK[:9], PADDED), PROTOCOL, id="6.2-padding-beyond"),
        pytest.param(frame(HEADERS, 3, b"", WHOLE | PADDED), SIZE, id="6.2-padded-and-empty"),
        pytest.param(frame(HEADERS, 3, bytes(4), WHOLE | PRIORITISED), SIZE, id="6.2-priority-breaks-off"),
        pytest.param(frame(PRIORITY, 0, bytes(5)), PROTOCOL, id="6.3-priority-on-stream-0"),
        pytest.param(frame(RST_STREAM, 0, bytes(4)), PROTOCOL, id="6.4-rst-stream-on-stream-0"),
        pytest.param(frame(RST_STREAM, 9, bytes(4)), PROTOCOL, id="6.4-rst-stream-on-an-idle-stream"),
        pytest.param(frame(RST_STREAM, 1, bytes(3)), SIZE, id="6.4-rst-stream-of-3-bytes"),
        pytest.param(frame(RST_STREAM, 1, bytes(5)), SIZE, id="6.4-rst-stream-of-5-bytes"),
        pytest.param(frame(SETTINGS, 1), PROTOCOL, id="6.5-settings-on-a-stream"),
        pytest.param(frame(SETTINGS, 1, b"", ACK), PROTOCOL, id="6.5-acknowledgement-on-a-stream"),
        pytest.param(settings((9, 1), flags=ACK), SIZE, id="6.5-acknowledgement-with-settings"),
        pytest.param(frame(SETTINGS, 0, bytes(5)), SIZE, id="6.5-settings-of-5-bytes"),
        pytest.param(frame(SETTINGS, 0, bytes(7)), SIZE, id="6.5-settings-of-7-bytes"),
        pytest.param(settings((ENABLE_PUSH, 2)), PROTOCOL, id="6.5.2-enable-push-2"),
        pytest.param(settings((INITIAL_WINDOW_SIZE, 2**31)), FLOW, id="6.5.2-initial-window-too-large"),
        pytest.param(settings((MAX_FRAME_SIZE, 16_383)), PROTOCOL, id="6.5.2-max-frame-size-too-small"),
        pytest.param(settings((MAX_FRAME_SIZE, 2**24)), PROTOCOL, id="6.5.2-max-frame-size-too-large"),
        pytest.param(
            settings((MAX_FRAME_SIZE, 1), (MAX_FRAME_SIZE, 16_384)), PROTOCOL, id="6.5.3-a-wrong-value-first"
        ),
        pytest.param(
            frame(PUSH_PROMISE, 1, b"\0\0\0\2" + BLOCK, END_HEADERS), PROTOCOL, id="8.4-push-promise"
        ),
        pytest.param(
            frame(PUSH_PROMISE, 0, b"\0\0\0\2" + BLOCK, END_HEADERS), PROTOCOL, id="6.6-push-promise-on-0"
        ),
        pytest.param(frame(PING, 1, bytes(8)), PROTOCOL, id="6.7-ping-on-a-stream"),
        pytest.param(frame(PING, 0, bytes(7)), SIZE, id="6.7-ping-of-7-bytes"),
        pytest.param(frame(PING, 0, bytes(9)), SIZE, id="6.7-ping-of-9-bytes"),
        pytest.param(frame(PING, 0, bytes(9), ACK), SIZE, id="6.7-answer-of-9-bytes"),
        pytest.param(frame(GOAWAY, 1, bytes(8)), PROTOCOL, id="6.8-goaway-on-a-stream"),
        pytest.param(frame(GOAWAY, 0, bytes(7)), SIZE, id="6.8-goaway-of-7-bytes"),
        pytest.param(window_update(0, 0), PROTOCOL, id="6.9-window-update-by-nothing"),
        pytest.param(window_update(0, 2**31), PROTOCOL, id="6.9-window-update-by-a-reserved-bit"),
        pytest.param(frame(WINDOW_UPDATE, 0, bytes(3)), SIZE, id="6.9-window-update-of-3-bytes"),
        pytest.param(frame(WINDOW_UPDATE, 1, bytes(5)), SIZE, id="6.9-window-update-of-5-bytes"),
        pytest.param(window_update(0, 2**31 - 1), FLOW, id="6.9.1-window-of-the-connection-too-large"),
        pytest.param(
            window_update(1, 2**31 - 1 - 65_535) + settings((INITIAL_WINDOW_SIZE, 65_536)),
            FLOW,
            id="6.9.2-setting-makes-a-window-too-large",
        ),
        pytest.param(frame(CONTINUATION, 0, b"", END_HEADERS), PROTOCOL, id="6.10-continuation-on-stream-0"),
        pytest.param(frame(CONTINUATION, 1, b"", END_HEADERS), PROTOCOL, id="6.10-continuation-of-nothing"),
        pytest.param(
            frame(HEADERS, 3, BLOCK, WHOLE) + frame(CONTINUATION, 3, b"", END_HEADERS),
            PROTOCOL,
            id="6.10-continuation-after-the-end",
        ),
        pytest.param(
            frame(HEADERS, 3, BLOCK) + frame(CONTINUATION, 3) + frame(DATA, 3, b"x"),
            PROTOCOL,
            id="6.10-data-after-a-continuation",
        ),
    ],
)
async def test_a_connection_error(client: Client, talk: Talk, wrong: bytes, code: int) -> None:
    await client.send(client.headers(1))
    await client.sync()
    await client.send(wrong)
    await client.breaks(code)
    assert talk.closed == talk.opened


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param(frame(PRIORITY, 1, bytes(4)), SIZE, id="6.3-priority-of-4-bytes"),
        pytest.param(frame(PRIORITY, 1, bytes(6)), SIZE, id="6.3-priority-of-6-bytes"),
        pytest.param(window_update(1, 0), PROTOCOL, id="6.9-window-update-by-nothing"),
        pytest.param(window_update(1, 2**31 - 1), FLOW, id="6.9.1-window-too-large"),
    ],
)
async def test_a_stream_error(client: Client, talk: Talk, wrong: bytes, code: int) -> None:
    await client.send(client.headers(1), wrong)
    await client.resets(1, code)
    assert (talk.opened, talk.closed) == (2, 2)


# === DATA and HEADERS ===


@pytest.mark.parametrize("padding", [0, 1, 255])
async def test_6_1_padding_is_no_part_of_the_data(client: Client, padding: int) -> None:
    data = message(b"padded")
    await client.send(client.headers(1))
    await client.send(frame(DATA, 1, bytes([padding]) + data + bytes(padding), PADDED | END_STREAM))
    assert (await client.response(1)).messages == [b"padded"]


async def test_6_1_data_may_be_all_padding(client: Client) -> None:
    await client.send(client.headers(1), frame(DATA, 1, b"\x04" + bytes(4), PADDED))
    await client.send(frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await client.response(1)).messages == [b"hello"]


@pytest.mark.parametrize("padding", [0, 1, 255])
@pytest.mark.parametrize("priority", [False, True])
async def test_6_2_padding_and_priority_are_no_part_of_the_block(
    client: Client, padding: int, priority: bool
) -> None:
    payload = bytes([padding]) + (b"\x80\0\0\x07\xff" if priority else b"") + BLOCK + bytes(padding)
    flags = PADDED | END_HEADERS | (PRIORITISED if priority else 0)
    await client.send(frame(HEADERS, 1, payload, flags), frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await client.response(1)).messages == [b"hello"]


async def test_6_2_the_stream_may_end_before_its_continuations(client: Client) -> None:
    await client.send(frame(HEADERS, 1, BLOCK[:9], END_STREAM), frame(CONTINUATION, 1, BLOCK[9:20]))
    await client.send(frame(CONTINUATION, 1, BLOCK[20:], END_HEADERS))
    response = await client.response(1)
    assert (response.messages, response.status) == ([], 0)


# === RST_STREAM ===


@pytest.mark.parametrize("code", [*ErrorCodes, 0xFFFFFFFF])
async def test_6_4_a_reset_ends_the_call_whatever_its_code(client: Client, talk: Talk, code: int) -> None:
    """7: unknown codes mean nothing special."""
    await client.send(client.headers(1))
    await client.sync()
    await client.send(rst_stream(1, code))
    await client.sync()
    assert (talk.opened, talk.closed) == (1, 1)
    await client.works()
    assert 1 not in client.responses


# === SETTINGS ===


async def test_6_5_each_settings_frame_is_acknowledged_in_order(client: Client) -> None:
    for at in range(5):
        await client.send(settings((INITIAL_WINDOW_SIZE, 100 + at)), frame(PING, 0, bytes([at] * 8)))
    answers: list[Frame] = []
    while len(answers) < 10:
        answers.append(await client.until(Frame))
    assert [type(came) for came in answers] == [SettingsFrame, PingFrame] * 5
    assert [came.opaque_data[0] for came in answers if isinstance(came, PingFrame)] == [0, 1, 2, 3, 4]


async def test_6_5_an_acknowledgement_is_not_answered(client: Client) -> None:
    await client.send(settings(flags=ACK))
    await client.sync()
    assert len([came for came in client.frames if isinstance(came, SettingsFrame)]) == 2


async def test_6_5_2_the_server_does_not_offer_push(client: Client) -> None:
    """And its values are within their ranges, which hyperframe and h2 check."""
    told = next(came for came in client.frames if isinstance(came, SettingsFrame))
    assert told.settings.get(ENABLE_PUSH, 0) == 0
    assert 16_384 <= told.settings.get(MAX_FRAME_SIZE, 16_384) < 2**24
    assert told.settings.get(INITIAL_WINDOW_SIZE, 65_535) < 2**31


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([(0x1, 0)], id="header-table-size"),
        pytest.param([(0x2, 0)], id="enable-push-0"),
        pytest.param([(0x2, 1)], id="enable-push-1"),
        pytest.param([(0x3, 0)], id="max-concurrent-streams"),
        pytest.param([(0x4, 2**31 - 1)], id="initial-window-size"),
        pytest.param([(0x5, 2**24 - 1)], id="max-frame-size"),
        pytest.param([(0x6, 0)], id="max-header-list-size"),
        pytest.param([(0x7, 1), (0x8, 1), (0x0, 1), (0xFFFF, 0xFFFFFFFF)], id="unknown"),
        pytest.param([], id="none"),
    ],
)
async def test_6_5_2_every_setting_is_taken_and_unknown_ones_are_ignored(
    client: Client, values: list[tuple[int, int]]
) -> None:
    await client.send(settings(*values))
    await client.settled()
    await client.works()


async def test_6_5_3_the_last_of_several_values_counts(client: Client) -> None:
    await client.send(settings((INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 7)))
    await client.settled()
    await client.send(client.call(1, b"hello"))
    await client.sync()
    assert len(client.responses[1].body) == 7


# === PING ===


async def test_6_7_a_ping_comes_back_as_it_was(client: Client) -> None:
    await client.send(frame(PING, 0, b"\0\xff12345\n"))
    answer = await client.until(PingFrame)
    assert isinstance(answer, PingFrame)
    assert (set(answer.flags), answer.opaque_data) == ({"ACK"}, b"\0\xff12345\n")


async def test_6_7_an_answer_is_not_answered(client: Client) -> None:
    await client.send(frame(PING, 0, b"answered", ACK))
    await client.sync()
    assert all(came.opaque_data == b"in order" for came in client.frames if isinstance(came, PingFrame))


async def test_6_7_pings_are_answered_while_data_waits_for_its_window(client: Client) -> None:
    await client.send(settings((INITIAL_WINDOW_SIZE, 0)), client.call(1))
    await client.sync()
    assert not client.responses[1].ended


# === GOAWAY ===


async def test_6_8_after_the_clients_goaway_open_streams_go_on(client: Client, talk: Talk) -> None:
    await client.send(client.headers(1), client.headers(3))
    await client.send(goaway(0))
    for stream in (1, 3):
        await client.send(frame(DATA, stream, message(b"late"), END_STREAM))
        assert (await client.response(stream)).messages == [b"late"]
    goodbye = await client.over()
    assert goodbye is not None, "a GOAWAY before the connection is closed"
    assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 3)
    assert talk.closed == 2


async def test_6_8_streams_after_a_goaway_are_not_served(client: Client, talk: Talk) -> None:
    await client.send(client.headers(1), goaway(0), client.call(3))
    await client.sync()
    assert talk.opened == 1
    assert 3 not in client.responses


async def test_6_8_blocks_after_a_goaway_still_change_the_table(client: Client) -> None:
    await client.send(client.headers(1), goaway(0))
    await client.send(client.headers(3, [("x-new", "in the table")]))
    await client.send(client.headers(1, [("x-new", "in the table")], WHOLE))
    assert (await client.response(1)).status == 0


async def test_6_8_the_last_stream_is_never_raised(client: Client) -> None:
    await client.send(client.headers(1), goaway(0), client.headers(3), frame(PING, 0))
    await client.over()
    told = [came.last_stream_id for came in client.frames if isinstance(came, GoAwayFrame)]
    assert told[-1] == 1


async def test_6_8_goaway_may_carry_text_and_any_code(client: Client) -> None:
    await client.send(client.headers(1), frame(GOAWAY, 0, b"\0\0\0\5\xab\xcd\xef\1why"))
    await client.send(frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await client.response(1)).messages == [b"hello"]


# === CONTINUATION ===


async def test_6_10_a_block_may_take_several_frames(client: Client) -> None:
    parts = [BLOCK[at : at + 20] for at in range(0, len(BLOCK), 20)]
    await client.send(
        frame(HEADERS, 1, parts[0]),
        *(frame(CONTINUATION, 1, part) for part in parts[1:]),
        frame(CONTINUATION, 1, b"", END_HEADERS),
        frame(DATA, 1, message(b"hello"), END_STREAM),
    )
    assert (await client.response(1)).messages == [b"hello"]
    assert not [came for came in client.frames if isinstance(came, RstStreamFrame)]
