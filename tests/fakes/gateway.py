"""A gateway's side of the conversation, over real gRPC: what Envoy would send, message by message."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf import json_format, struct_pb2

METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
DESTINATION: Final = "x-gateway-destination-endpoint"
ANSWER_SECONDS: Final = 30.0
"""Long enough for a busy machine; a test that waits for it in vain fails."""
QUIET_SECONDS: Final = 0.2

MODES: Final = processing_mode_pb2.ProcessingMode
HEADERS: Final = {
    ":method": "POST",
    ":path": "/v1/completions",
    "hi": "mom",
    "x-request-id": "test-request-id",
}


class Talk:
    """One open conversation."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._pending: asyncio.Task[Any] | None = None

    # === what the gateway says ===

    async def say(self, *, hints: Mapping[str, Mapping[str, Any]] | None = None, **event: Any) -> None:
        """One ProcessingRequest; `hints` are metadata namespaces."""
        message = ext_proc.ProcessingRequest(**event)
        for namespace, fields in (hints or {}).items():
            struct = json_format.ParseDict(dict(fields), struct_pb2.Struct())
            message.metadata_context.filter_metadata[namespace].CopyFrom(struct)
        await self.call.write(message)

    async def request_headers(
        self,
        fields: Mapping[str, str] = HEADERS,
        *,
        end: bool = False,
        modes: tuple[str, str] | None = None,
        hints: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`modes` are the names of the request's and the response's body mode."""
        event: dict[str, Any] = {"request_headers": http_headers(fields.items(), end=end)}
        if modes is not None:
            request, response = (MODES.BodySendMode.Value(name) for name in modes)
            event["protocol_config"] = ext_proc.ProtocolConfiguration(
                request_body_mode=request, response_body_mode=response
            )
        await self.say(hints=hints, **event)

    async def request_body(
        self, data: bytes, *, end: bool = True, hints: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        await self.say(request_body=ext_proc.HttpBody(body=data, end_of_stream=end), hints=hints)

    async def request_trailers(self) -> None:
        await self.say(request_trailers=ext_proc.HttpTrailers())

    async def response_headers(
        self,
        fields: Mapping[str, str] | Sequence[tuple[str, str]] = (
            (":status", "200"),
            ("content-type", "application/json"),
        ),
        *,
        end: bool = False,
        hints: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        items = fields.items() if isinstance(fields, Mapping) else fields
        await self.say(response_headers=http_headers(items, end=end), hints=hints)

    async def response_body(self, data: bytes, *, end: bool = False) -> None:
        await self.say(response_body=ext_proc.HttpBody(body=data, end_of_stream=end))

    async def response_trailers(self) -> None:
        await self.say(response_trailers=ext_proc.HttpTrailers())

    # === what the picker answers ===

    async def reply(self) -> Any:
        """The next ProcessingResponse; None when the picker has ended the conversation."""
        task = self._pending or asyncio.ensure_future(self.call.read())
        self._pending = None
        message = await asyncio.wait_for(task, ANSWER_SECONDS)
        return None if message is grpc.aio.EOF else message

    async def quiet(self) -> None:
        """Nothing is answered for a while."""
        self._pending = self._pending or asyncio.ensure_future(self.call.read())
        done, _ = await asyncio.wait({self._pending}, timeout=QUIET_SECONDS)
        assert not done, f"unexpected answer {self._pending.result()}"

    async def body(self, side: str) -> bytes:
        """Streamed pieces of one side up to the one end of stream."""
        parts = []
        while True:
            reply = await self.reply()
            streamed = getattr(reply, f"{side}_body").response.body_mutation.streamed_response
            assert len(streamed.body) <= 62_000
            parts.append(streamed.body)
            if streamed.end_of_stream:
                return b"".join(parts)

    async def routed(self) -> str:
        """The next answer names a destination, in header and metadata alike; answers it."""
        return destination(await self.reply())

    async def route(self, body: bytes, **options: Any) -> str:
        """Headers and a whole body; answers the destination, having checked the body's echo."""
        await self.request_headers(**options)
        await self.request_body(body)
        place = await self.routed()
        assert await self.body("request") == body
        return place

    async def refusal(self) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of the immediate answer that comes next, after which all ends."""
        reply = await self.reply()
        assert reply.WhichOneof("response") == "immediate_response", reply
        immediate = reply.immediate_response
        assert await self.reply() is None
        return immediate.status.code, immediate.body.decode(), set_headers(immediate.headers)


def http_headers(items: Any, *, end: bool) -> Any:
    """As Envoy sends them: the value in `raw_value`."""
    values = [base_pb2.HeaderValue(key=name, raw_value=value.encode()) for name, value in items]
    return ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(headers=values), end_of_stream=end)


def set_headers(mutation: Any) -> dict[str, str]:
    """Header → value; `value` itself must stay empty, as Envoy would not take it."""
    assert all(not option.header.value for option in mutation.set_headers)
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


def common(reply: Any) -> Any:
    """The CommonResponse of a headers or body answer."""
    return getattr(reply, reply.WhichOneof("response")).response


def destination(reply: Any) -> str:
    """The destination that an answer names, the same in header and metadata."""
    header = set_headers(common(reply).header_mutation)[DESTINATION]
    metadata = reply.dynamic_metadata.fields["envoy.lb"].struct_value.fields[DESTINATION].string_value
    assert header == metadata
    assert common(reply).clear_route_cache
    return header


@asynccontextmanager
async def gateway(address: str) -> AsyncIterator["Gateway"]:
    """A connection to the picker's ext_proc port."""
    async with grpc.aio.insecure_channel(
        address, options=[("grpc.max_receive_message_length", -1)]
    ) as channel:
        yield Gateway(channel)


class Gateway:
    """Opens conversations."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._method = channel.stream_stream(
            METHOD,
            request_serializer=ext_proc.ProcessingRequest.SerializeToString,
            response_deserializer=ext_proc.ProcessingResponse.FromString,
        )
        self._raw: Any = channel.stream_stream(METHOD)

    @asynccontextmanager
    async def talk(self) -> AsyncIterator[Talk]:
        """One conversation, cancelled at the end if it still goes on."""
        call = self._method()
        try:
            yield Talk(call)
        finally:
            call.cancel()

    def raw(self) -> Any:
        """A call that sends and receives bytes."""
        return self._raw()
