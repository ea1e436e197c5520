"""RFC 9113, 8: requests, their fields, and what makes them malformed."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from tests.fakes.http2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    WHOLE,
    Client,
    frame,
    message,
    plain,
    request,
)
from tests.fakes.talking import Talk

Raw = list[tuple[str | bytes, str | bytes]]


def without(name: str) -> Raw:
    return [field for field in request() if field[0] != name]


def changed(name: str, value: str) -> Raw:
    return [(key, value if key == name else old) for key, old in request()]


def plus(name: str | bytes, value: str | bytes) -> Raw:
    return [*request(), (name, value)]


def first(name: str, value: str) -> Raw:
    return [(name, value), *request()]


CONNECT: Raw = [(":method", "CONNECT"), (":authority", "localhost:1")]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(without(":method"), id="8.3.1-no-method"),
        pytest.param(without(":scheme"), id="8.3.1-no-scheme"),
        pytest.param(without(":path"), id="8.3.1-no-path"),
        pytest.param(changed(":path", ""), id="8.3.1-empty-path"),
        pytest.param(changed(":path", "no/slash"), id="8.3.1-path-without-slash"),
        pytest.param(changed(":path", "*"), id="8.3.1-asterisk-without-options"),
        pytest.param(changed(":method", ""), id="8.3.1-empty-method"),
        pytest.param(changed(":scheme", ""), id="8.3.1-empty-scheme"),
        pytest.param(changed(":authority", "me@localhost"), id="8.3.1-user-information"),
        *(
            pytest.param(first(name, value), id=f"8.3-{name[1:]}-twice")
            for name, value in request()
            if name.startswith(":")
        ),
        pytest.param(first(":status", "200"), id="8.3-field-of-a-response"),
        pytest.param(first(":unknown", "x"), id="8.3-undefined-field"),
        pytest.param(first(":protocol", "websocket"), id="8.3-protocol-that-was-not-offered"),
        pytest.param(first(":", "x"), id="8.3-colon-alone"),
        pytest.param(plus(":authority", "localhost"), id="8.3-after-a-regular-field"),
        pytest.param([*without(":path"), (":path", "/test.Talk/Echo")], id="8.3-path-last"),
        pytest.param(plus("X-Upper", "x"), id="8.2.1-upper-case"),
        pytest.param(plus("xX", "x"), id="8.2.1-one-upper-case-letter"),
        *(
            pytest.param(plus(b"a" + bytes([byte]) + b"b", "x"), id=f"8.2.1-name-with-{byte:02x}")
            for byte in (0x00, 0x01, 0x09, 0x0A, 0x0D, 0x1F, 0x20, 0x3A, 0x41, 0x5A, 0x7F, 0x80, 0xFF)
        ),
        pytest.param(plus(b"x:", "x"), id="8.2.1-name-that-ends-in-a-colon"),
        pytest.param(plus(b"", "x"), id="8.2.1-empty-name"),
        *(
            pytest.param(plus("x", b"a" + bytes([byte]) + b"b"), id=f"8.2.1-value-with-{byte:02x}")
            for byte in (0x00, 0x0A, 0x0D)
        ),
        *(
            pytest.param(plus("x", value), id=f"8.2.1-value-{where}")
            for where, value in (
                ("begins-with-space", " x"),
                ("ends-with-space", "x "),
                ("begins-with-tab", "\tx"),
                ("ends-with-tab", "x\t"),
                ("is-space", " "),
                ("ends-with-line-end", "x\n"),
            )
        ),
        pytest.param(changed(":path", "/a\r\nb"), id="8.2.1-path-with-line-end"),
        *(
            pytest.param(plus(name, "x"), id=f"8.2.2-{name}")
            for name in ("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade")
        ),
        pytest.param(plus("te", "gzip"), id="8.2.2-te-gzip"),
        pytest.param(plus("te", "trailers, deflate"), id="8.2.2-te-trailers-and-more"),
        pytest.param([*CONNECT, (":scheme", "http")], id="8.5-connect-with-scheme"),
        pytest.param([*CONNECT, (":path", "/")], id="8.5-connect-with-path"),
        pytest.param([(":method", "CONNECT")], id="8.5-connect-without-authority"),
        pytest.param(plus("content-length", "x"), id="8.1.1-content-length-that-is-no-number"),
        pytest.param(plus("content-length", "-1"), id="8.1.1-content-length-below-zero"),
        pytest.param([*plus("content-length", "1"), ("content-length", "2")], id="8.1.1-two-content-lengths"),
    ],
)
async def test_a_malformed_request(client: Client, talk: Talk, fields: Raw) -> None:
    """8.1.1: a stream error of type PROTOCOL_ERROR, and no call begins."""
    await client.send(frame(HEADERS, 1, plain(fields), END_HEADERS))
    await client.resets(1, ErrorCodes.PROTOCOL_ERROR)
    assert talk.opened == 1  # that of `resets` alone


def trailer(name: str | bytes, value: str | bytes = "x", flags: int = WHOLE) -> bytes:
    return frame(HEADERS, 1, plain([(name, value)]), flags)


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(trailer(":path", "/"), id="8.1-pseudo-header-field-in-trailers"),
        pytest.param(trailer(":status", "200"), id="8.1-field-of-a-response-in-trailers"),
        pytest.param(trailer("x", flags=END_HEADERS), id="8.1-trailers-that-end-nothing"),
        pytest.param(trailer("Upper"), id="8.2.1-upper-case-in-trailers"),
        pytest.param(trailer("x", b"a\0b"), id="8.2.1-nul-in-trailers"),
        pytest.param(trailer("connection"), id="8.2.2-connection-in-trailers"),
        pytest.param(frame(DATA, 1, bytes(11)), id="8.1.1-more-than-content-length"),
        pytest.param(frame(DATA, 1, bytes(9), END_STREAM), id="8.1.1-less-than-content-length"),
        pytest.param(frame(DATA, 1, bytes(9)) + trailer("x"), id="8.1.1-less-before-trailers"),
    ],
)
async def test_a_request_that_turns_out_malformed(client: Client, talk: Talk, rest: bytes) -> None:
    await client.send(client.headers(1, request("/test.Talk/Mute", ("content-length", "10"))), rest)
    await client.resets(1, ErrorCodes.PROTOCOL_ERROR)
    assert talk.closed == talk.opened == 2


@pytest.mark.parametrize("length", ["0", "3"])
async def test_8_1_1_a_content_length_without_content(client: Client, length: str) -> None:
    await client.send(client.headers(1, request("/test.Talk/Mute", ("content-length", length)), WHOLE))
    if length == "0":
        assert (await client.response(1)).status == 0
    else:
        await client.resets(1, ErrorCodes.PROTOCOL_ERROR)


async def test_8_1_1_a_content_length_that_is_right_counts_no_padding(client: Client) -> None:
    data = message(b"hello")
    await client.send(client.headers(1, request("/test.Talk/Echo", ("content-length", "10"))))
    await client.send(
        frame(DATA, 1, b"\x03" + data[:4] + bytes(3), 0x8), frame(DATA, 1, data[4:], END_STREAM)
    )
    assert (await client.response(1)).messages == [b"hello"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(plus("te", "trailers"), id="8.2.2-te-trailers"),
        pytest.param([*request(), ("cookie", "a=b"), ("cookie", "c=d")], id="8.2.3-cookies-in-parts"),
        pytest.param(plus("x-empty", ""), id="8.2.1-empty-value"),
        pytest.param(plus("x-high", b"\x80\xff"), id="8.2.1-value-beyond-ascii"),
        pytest.param(plus("x-tab", "a\tb c"), id="8.2.1-white-space-inside"),
        pytest.param(plus("!#$%&'*+-.^_`|~09az", "x"), id="8.2.1-all-of-a-token"),
        pytest.param(without(":authority"), id="8.3.1-no-authority"),
        pytest.param(changed(":scheme", "other"), id="8.3.1-any-scheme"),
        pytest.param(
            [request()[3], request()[2], request()[1], request()[0], *request()[4:]], id="8.3-in-any-order"
        ),
    ],
)
async def test_a_request_that_is_well_formed(client: Client, fields: Raw) -> None:
    await client.send(frame(HEADERS, 1, plain(fields), END_HEADERS))
    await client.send(frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await client.response(1)).messages == [b"hello"]


async def test_8_1_trailers_end_a_request(client: Client) -> None:
    await client.send(client.headers(1), frame(DATA, 1, message(b"hello")))
    await client.send(frame(HEADERS, 1, plain([("x-checksum", "1")])[:5], END_STREAM))
    await client.send(frame(CONTINUATION, 1, plain([("x-checksum", "1")])[5:], END_HEADERS))
    response = await client.response(1)
    assert (response.messages, response.status) == ([b"hello"], 0)


async def test_8_1_a_response_is_headers_data_and_trailers(client: Client) -> None:
    await client.send(client.call(1))
    await client.response(1)
    came = [came for came in client.frames if came.stream_id == 1]
    assert [type(each).__name__ for each in came] == ["HeadersFrame", "DataFrame", "HeadersFrame"]
    assert [("END_STREAM" in each.flags) for each in came] == [False, False, True]


async def test_8_1_after_a_whole_response_the_request_is_cut_off_without_error(client: Client) -> None:
    await client.send(client.headers(1, request("/no.Such/One")))
    await client.resets(1, ErrorCodes.NO_ERROR)
    assert client.responses[1].ended
    ended = next(at for at, came in enumerate(client.frames) if "END_STREAM" in came.flags)
    assert isinstance(client.frames[ended + 1], RstStreamFrame)


@pytest.mark.parametrize("path", ["/test.Talk/Echo", "/no.Such/One"])
async def test_8_2_and_8_3_2_the_fields_of_a_response(client: Client, path: str) -> None:
    await client.send(client.call(1, path=path))
    await client.response(1)
    blocks = [came for came in client.frames if came.type == HEADERS]
    assert client.responses[1].headers[":status"] == "200"
    assert ":status" not in client.responses[1].trailers
    names = [*client.responses[1].headers, *client.responses[1].trailers]
    assert all(name == name.lower() for name in names)
    assert not {"connection", "keep-alive", "transfer-encoding", "upgrade"} & set(names)
    assert not [name for name in names[1:] if name.startswith(":")]
    assert len(blocks) in {1, 2}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param(changed(":method", "GET"), "405", id="8-get"),
        pytest.param([*CONNECT], "405", id="8.5-connect"),
        pytest.param(
            [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")], "405", id="8.3.1-options-asterisk"
        ),
    ],
)
async def test_a_method_that_is_not_served(client: Client, fields: Raw, status: str) -> None:
    await client.send(frame(HEADERS, 1, plain(fields), WHOLE))
    assert (await client.response(1)).headers[":status"] == status
    await client.works()
