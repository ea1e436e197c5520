"""What is read and written by hand means what the generated code says that it means."""

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from hypothesis import example, given
from hypothesis import strategies as st

from endpoint_picker.extproc import codec
from endpoint_picker.extproc.messages import (
    Body,
    Headers,
    HeadersReply,
    Incoming,
    Mutation,
    Piece,
    Reply,
    Side,
)

SIDES = st.sampled_from(list(Side))
LENGTHS = st.sampled_from([0, 1, 100, 127, 128, 16_383, 16_384, 62_000])
BODIES = LENGTHS.map(bytes) | st.binary(max_size=300)


def body_message(side: Side, data: bytes, ends: bool, **more: object) -> bytes:
    body = ext_proc.HttpBody(body=data, end_of_stream=ends)
    message: bytes = ext_proc.ProcessingRequest(**{f"{side.value}_body": body}, **more).SerializeToString()
    return message


def slowly(data: bytes) -> Incoming | None:
    """What the generated code reads; None: nothing."""
    try:
        return codec._decode(data)
    except codec.Malformed:
        return None


@given(SIDES, BODIES, st.booleans(), st.booleans())
def test_a_body_is_read_as_the_generated_code_reads_it(
    side: Side, data: bytes, ends: bool, metadata: bool
) -> None:
    more = {"metadata_context": base_pb2.Metadata()} if metadata else {}
    message = body_message(side, data, ends, **more)
    assert codec.decode(message) == slowly(message) == Incoming(side, Body(data, ends))


@given(st.data())
def test_a_damaged_body_is_read_as_the_generated_code_reads_it(data: st.DataObject) -> None:
    message = bytearray(body_message(Side.RESPONSE, data.draw(BODIES), data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))])
    expected = slowly(cut)
    if expected is None:
        with pytest.raises(codec.Malformed):
            codec.decode(cut)
    else:
        assert codec.decode(cut) == expected


@given(st.tuples(st.sampled_from([b"\x2a", b"\x1a", b"\x12"]), st.binary(max_size=12)).map(b"".join))
@example(b"\x1a\x04\n*\n(")
@example(b"\x2a\xff\xff\xff\xff\x0f")
@example(b"\x2a\x80\x80\x80\x80\x80\x00")
@example(b"\x2a\x04\x0a\x00\x10\x01")
@example(b"\x2a\x00")
def test_any_bytes_after_a_tag_that_is_read_by_hand(data: bytes) -> None:
    expected = slowly(data)
    if expected is None:
        with pytest.raises(codec.Malformed):
            codec.decode(data)
    else:
        assert codec.decode(data) == expected


def test_a_body_with_something_beside_it_says_that_too() -> None:
    context = base_pb2.Metadata()
    context.filter_metadata["envoy.lb"].fields["x-gateway-destination-endpoint-served"].string_value = "a:1"
    message = body_message(Side.RESPONSE, b"x", False, metadata_context=context)
    assert codec.decode(message) == Incoming(Side.RESPONSE, Body(b"x", False), served="a:1")


@given(SIDES, BODIES, st.booleans())
def test_a_piece_is_written_as_the_generated_code_writes_it(side: Side, data: bytes, ends: bool) -> None:
    piece = Piece(side, data, ends)
    assert codec.encode(piece) == codec._encode(piece)


@pytest.mark.parametrize(
    "reply",
    [
        HeadersReply(Side.REQUEST, Mutation(set=(("a", "b"),), remove=("c",), destination="1.2.3.4:5")),
        HeadersReply(Side.REQUEST, Mutation(destination="1.2.3.4:5", scores={"1.2.3.4:5": 0.5})),
        HeadersReply(Side.RESPONSE),
    ],
)
def test_an_answer_to_headers_is_the_same_each_time(reply: Reply) -> None:
    assert codec.encode(reply) == codec.encode(reply) == codec._encode(reply)


# === headers ===

NAMES = st.sampled_from([":path", ":status", "x-request-id", "X-Odd", ""]) | st.text(max_size=5)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=200), st.text(max_size=5)), max_size=6)


def headers_message(side: Side, fields: list[tuple[str, bytes, str]], ends: bool, **more: object) -> bytes:
    values = [base_pb2.HeaderValue(key=key, raw_value=raw, value=value) for key, raw, value in fields]
    headers = ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(headers=values), end_of_stream=ends)
    message = ext_proc.ProcessingRequest(**{f"{side.value}_headers": headers}, **more)
    data: bytes = message.SerializeToString()
    return data


def subset(place: str) -> base_pb2.Metadata:
    context = base_pb2.Metadata()
    hint = context.filter_metadata["envoy.lb.subset_hint"]
    hint.fields["x-gateway-destination-endpoint-subset"].string_value = place
    return context


@given(SIDES, FIELDS, st.booleans(), st.integers(0, 5), st.text("ab:,1", max_size=600))
def test_headers_are_read_as_the_generated_code_reads_them(
    side: Side, fields: list[tuple[str, bytes, str]], ends: bool, mode: int, place: str
) -> None:
    config = ext_proc.ProtocolConfiguration(request_body_mode=mode)
    message = headers_message(side, fields, ends, protocol_config=config, metadata_context=subset(place))
    assert codec.decode(message) == codec.decode(message) == slowly(message)


@given(st.data())
def test_damaged_headers_are_read_as_the_generated_code_reads_them(data: st.DataObject) -> None:
    message = bytearray(headers_message(Side.REQUEST, data.draw(FIELDS), data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))]) + data.draw(st.binary(max_size=4))
    expected = slowly(cut)
    if expected is None:
        with pytest.raises(codec.Malformed):
            codec.decode(cut)
    else:
        assert codec.decode(cut) == expected


def test_fields_that_are_remembered_take_a_bounded_room() -> None:
    for number in range(2 * codec.MOST_ENTRIES):
        codec.decode(headers_message(Side.REQUEST, [("x-request-id", b"%d" % number, "")], False))
    assert len(codec._entries) <= codec.MOST_ENTRIES
    assert max(map(len, codec._entries)) <= codec.LONGEST_ENTRY


@pytest.mark.parametrize(
    ("name", "expected"),
    [("prefer", "if-available, wait=10"), ("Prefer", "if-available, wait=10"), ("x", "wait=10")],
)
def test_preferences_may_stand_in_several_lines(name: str, expected: str) -> None:
    values = [base_pb2.HeaderValue(key=name, raw_value=value) for value in (b"if-available", b"wait=10")]
    headers = ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(headers=values))
    message = ext_proc.ProcessingRequest(request_headers=headers).SerializeToString()
    event = codec.decode(message).event
    assert isinstance(event, Headers)
    assert event.fields == {name.lower(): expected}
    assert codec.decode(message) == slowly(message)
