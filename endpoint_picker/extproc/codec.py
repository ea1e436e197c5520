"""Protobuf to records and back; the only module that imports Envoy's generated messages."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.type.v3 import http_status_pb2
from google.protobuf.message import DecodeError

from endpoint_picker.core import wire
from endpoint_picker.extproc.messages import (
    Body,
    BodyMode,
    BodyReply,
    Headers,
    HeadersReply,
    Immediate,
    Incoming,
    Modes,
    Mutation,
    Piece,
    Reply,
    Side,
    Trailers,
    TrailersReply,
)

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD: Final = "Process"


_BODIES: Final = {b"\x22": Side.REQUEST, b"\x2a": Side.RESPONSE}
"""Tag of `request_body` and of `response_body` in a ProcessingRequest."""
_PART: Final = 0x0A
"""Tag of `body` in an HttpBody."""
_ENDS: Final = b"\x10\x01"
"""`end_of_stream: true` in an HttpBody, and in a StreamedBodyResponse."""
_HEADERS: Final = {b"\x12": Side.REQUEST, b"\x1a": Side.RESPONSE}
"""Tag of `request_headers` and of `response_headers`."""
_LAST: Final = b"\x18\x01"
"""`end_of_stream: true` in HttpHeaders."""
_TAILS: Final = (b"", _LAST)
LONGEST_BESIDE: Final = 512
"""Bytes beside the headers that are looked up: modes, a hint, the served endpoint."""
LONGEST_ENTRY: Final = 128
MOST_ENTRIES: Final = 4_096
"""Header fields that are remembered; ids and lengths push the others out now and then."""
_entries: Final[dict[bytes, tuple[str, str]]] = {}
_NOTHING_ELSE: Final = (b"", b"\x42\x00")
"""What may follow the body: nothing, or the `metadata_context` that Envoy adds though nothing is in it."""


class Malformed(ValueError):
    """Bytes that are no message of this conversation."""


# === from Envoy ===


def decode(data: bytes) -> Incoming:
    """One `ProcessingRequest`. Raises Malformed when it is none, or says nothing."""
    tag = data[:1]
    side = _BODIES.get(tag)
    if side is not None:
        body = _body(data)
        return _decode(data) if body is None else Incoming(side, body)
    side = _HEADERS.get(tag)
    found = None if side is None else _headers_by_hand(data, side)
    return _decode(data) if found is None else found


def _headers_by_hand(data: bytes, side: Side) -> Incoming | None:
    """A message that begins with headers; None where it is not as Envoy writes it.

    Most fields are the same in each request: what an entry means is looked up by its bytes, which takes a
    tenth of the time that the generated code takes.
    """
    try:
        length, start = _varint(data, 1)
        end = start + length
        size, at = _varint(data, start + 1)
        last = at + size
        beside, tail = data[end:], data[last:end]
        if data[start] != _PART or not last <= end <= len(data):
            return None
        if len(beside) > LONGEST_BESIDE or tail not in _TAILS:
            return None
        fields: dict[str, str] = {}
        while at < last:
            if data[at] != _PART:
                return None
            size, at = _varint(data, at + 1)
            name, value = _entry(data[at : at + size])
            if name in fields:
                value = _repeated(name, fields[name], value)
            fields[name] = value
            at += size
        modes, subset, served = _beside(beside)
    except (IndexError, Malformed):
        return None
    return Incoming(side, Headers(fields, tail == _LAST), modes, subset, served) if at == last else None


def _entry(data: bytes) -> tuple[str, str]:
    """Name and value of a header field; those that are short are remembered."""
    found = _entries.get(data)
    if found is not None:
        return found
    try:
        found = _field(base_pb2.HeaderValue.FromString(data))
    except DecodeError as error:
        raise Malformed(f"not a header: {error}") from error
    if len(data) <= LONGEST_ENTRY:
        if len(_entries) >= MOST_ENTRIES:
            _entries.clear()
        _entries[data] = found
    return found


@lru_cache(maxsize=256)
def _beside(data: bytes) -> tuple[Modes | None, tuple[str, ...] | None, str | None]:
    """What stands beside the headers: body modes and metadata. Raises Malformed."""
    try:
        message = ext_proc.ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise Malformed(f"not a ProcessingRequest: {error}") from error
    if message.WhichOneof("request") is not None:
        raise Malformed("a second event in one message")
    return _about(message)


def _body(data: bytes) -> Body | None:
    """A message that is a body and nothing else, read by hand; None where it is more than that.

    Each generated token is such a message: this takes a tenth of the time that the generated code takes.
    """
    try:
        length, start = _varint(data, 1)
        end = start + length
        if end > len(data) or data[end:] not in _NOTHING_ELSE:
            return None
        if data[start] != _PART:
            return Body(b"", True) if data[start:end] == _ENDS else None
        length, start = _varint(data, start + 1)
    except IndexError:
        return None
    tail = data[start + length : end]
    if tail == _ENDS:
        return Body(data[start : start + length], True)
    return None if tail or start + length != end else Body(data[start:end], False)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A length, and where it ends."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for shift in (7, 14, 21, 28):
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
    raise IndexError("a length of more than 32 bits")


def _decode(data: bytes) -> Incoming:
    try:
        message = ext_proc.ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise Malformed(f"not a ProcessingRequest: {error}") from error
    kind = message.WhichOneof("request")
    if kind is None:
        raise Malformed("a ProcessingRequest without headers, body or trailers")
    side, read = _KINDS[kind]
    return Incoming(side, read(getattr(message, kind)), *_about(message))


def _about(message: Any) -> tuple[Modes | None, tuple[str, ...] | None, str | None]:
    """Body modes, subset and served endpoint, as far as a message tells."""
    config = message.protocol_config if message.HasField("protocol_config") else None
    modes = None if config is None else _modes(config.request_body_mode, config.response_body_mode)
    told = len(message.metadata_context.filter_metadata)
    return modes, _subset(message) if told else None, _served(message) if told else None


def _headers(message: Any) -> Headers:
    fields: dict[str, str] = {}
    for name, value in map(_field, message.headers.headers):
        fields[name] = _repeated(name, fields[name], value) if name in fields else value
    return Headers(fields, message.end_of_stream)


def _repeated(name: str, before: str, value: str) -> str:
    """Of fields that stand there several times the last counts, but for the one that is a list to us."""
    return f"{before}, {value}" if name == wire.PREFER else value


def _field(header: Any) -> tuple[str, str]:
    # Header values are bytes on the wire; latin-1 keeps each of them.
    raw = header.raw_value
    return header.key.lower(), raw.decode("latin-1") if raw else header.value


_EVENTS: Final[Mapping[str, Callable[[Any], Headers | Body | Trailers]]] = {
    "headers": _headers,
    "body": lambda message: Body(message.body, message.end_of_stream),
    "trailers": lambda _: Trailers(),
}
_KINDS: Final = {f"{side.value}_{what}": (side, read) for side in Side for what, read in _EVENTS.items()}
"""Name of the field that a message has → side, and what reads it."""


@lru_cache(maxsize=64)
def _modes(request: int, response: int) -> Modes:
    return Modes(_mode(request), _mode(response))


def _mode(number: int) -> BodyMode | int:
    try:
        return BodyMode(number)
    except ValueError:
        return number  # of a newer Envoy: the stream refuses it by its number


def _metadata(message: Any, namespace: str, key: str) -> Any:
    """The `Value` under a key of the request's metadata, or None."""
    namespaces = message.metadata_context.filter_metadata
    if namespace not in namespaces or key not in namespaces[namespace].fields:
        return None
    return namespaces[namespace].fields[key]


def _subset(message: Any) -> tuple[str, ...] | None:
    """The subset hint: a list of strings, or one string with commas; None where there is no hint.

    A hint of any other type names no endpoint, which is not the same as no hint: the data plane did
    limit the choice.
    """
    value = _metadata(message, wire.SUBSET_NAMESPACE, wire.SUBSET)
    match value.WhichOneof("kind") if value is not None else None:
        case None | "null_value":
            return None
        case "list_value":
            return tuple(
                entry.string_value.strip() for entry in value.list_value.values if entry.string_value
            )
        case "string_value":
            return tuple(entry.strip() for entry in value.string_value.split(",") if entry.strip())
        case _:
            return ()


def _served(message: Any) -> str | None:
    value = _metadata(message, wire.DESTINATION_NAMESPACE, wire.SERVED)
    return value.string_value or None if value is not None else None


# === to Envoy ===


def encode(reply: Reply) -> bytes:
    """One `ProcessingResponse`."""
    if type(reply) is Piece:
        side, data, ends, told = reply
        if told:
            return _encode(reply)
        frame = _piece(side, len(data), ends)
        return b"%b%b%b" % (frame, data, _ENDS) if ends else frame + data
    if type(reply) is HeadersReply and reply.mutation.scores is None and reply.mutation.metadata is None:
        return _headers_reply(reply)
    return _encode(reply)


def _encode(reply: Reply) -> bytes:
    data: bytes = _response(reply).SerializeToString()
    return data


@lru_cache(maxsize=4096)
def _piece(side: Side, length: int, ends: bool) -> bytes:
    """What stands before the data of a piece: it depends on nothing but its length, and lengths repeat."""
    whole = _encode(Piece(side, bytes(length), ends))
    return whole[: len(whole) - length - (len(_ENDS) if ends else 0)]


# Few endpoints make few answers: what differs from request to request is the exception.
_headers_reply: Final = lru_cache(maxsize=1024)(_encode)


def _response(reply: Reply) -> Any:
    match reply:
        case Piece(side, data, end_of_stream, told):
            streamed = ext_proc.StreamedBodyResponse(body=data, end_of_stream=end_of_stream)
            mutation = ext_proc.BodyMutation(streamed_response=streamed)
            body = ext_proc.BodyResponse(response=ext_proc.CommonResponse(body_mutation=mutation))
            response = ext_proc.ProcessingResponse(**{f"{side.value}_body": body})
            return _with_metadata(response, Mutation(metadata=told)) if told else response
        case HeadersReply(side, mutation):
            headers = ext_proc.HeadersResponse(response=_common(mutation))
            return _with_metadata(ext_proc.ProcessingResponse(**{f"{side.value}_headers": headers}), mutation)
        case BodyReply(side, replacement, mutation):
            common = _common(mutation)
            if replacement is not None:
                common.body_mutation.CopyFrom(_replace(replacement))
            body = ext_proc.BodyResponse(response=common)
            return _with_metadata(ext_proc.ProcessingResponse(**{f"{side.value}_body": body}), mutation)
        case TrailersReply(side, mutation):
            trailers = ext_proc.TrailersResponse()
            return _with_metadata(
                ext_proc.ProcessingResponse(**{f"{side.value}_trailers": trailers}), mutation
            )
        case Immediate(status, text, fields):
            immediate = ext_proc.ImmediateResponse(
                status=http_status_pb2.HttpStatus(code=status),
                headers=ext_proc.HeaderMutation(set_headers=_set(fields)) if fields else None,
                body=text.encode(),
            )
            return ext_proc.ProcessingResponse(immediate_response=immediate)


def _replace(data: bytes) -> Any:
    # An empty `body` would read as "no mutation".
    return ext_proc.BodyMutation(body=data) if data else ext_proc.BodyMutation(clear_body=True)


def _common(mutation: Mutation) -> Any:
    changes = None
    if mutation.set or mutation.remove:
        changes = ext_proc.HeaderMutation(set_headers=_set(mutation.set), remove_headers=mutation.remove)
    return ext_proc.CommonResponse(header_mutation=changes, clear_route_cache=mutation.clear_route_cache)


def _set(fields: Iterable[tuple[str, str]]) -> list[Any]:
    # `raw_value`: a `value` arrives empty at Envoy. Neither `append` nor an action: overwrite.
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=name, raw_value=value.encode("latin-1", "replace"))
        )
        for name, value in fields
    ]


def _with_metadata(response: Any, mutation: Mutation) -> Any:
    told: dict[str, dict[str, Any]] = {name: dict(keys) for name, keys in (mutation.metadata or {}).items()}
    if mutation.destination is not None:
        place = told.setdefault(wire.DESTINATION_NAMESPACE, {})
        place[wire.DESTINATION] = mutation.destination
        if mutation.scores:
            place[wire.SCORES] = dict(mutation.scores)
    if told:
        response.dynamic_metadata.update(told)
    return response
