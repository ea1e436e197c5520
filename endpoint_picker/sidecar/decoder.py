"""The local engine."""

from collections.abc import Mapping

from aiohttp import web

from endpoint_picker.parsing import legs
from endpoint_picker.parsing.legs import Fields
from endpoint_picker.sidecar import usage
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.engines import Engines, Stage, Unreachable, refused, told
from endpoint_picker.sidecar.errors import Kind, flat
from endpoint_picker.sidecar.relay import relay


class Decoder:
    """Has the engine beside us answer."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def forward(self, call: Call) -> web.StreamResponse:
        """Pass a request on as it comes in."""
        request = call.request
        data = request.content.iter_any() if request.can_read_body else None
        try:
            answer = await self._engines.send(
                Stage.DECODE, call.engine, call.path, method=request.method, headers=call.headers, data=data
            )
        except Unreachable as error:
            return unreachable(call, error)
        async with answer:
            return await relay(request, answer)

    async def send(
        self, call: Call, fields: Fields, *, request_id: str | None = None, cached: int | None = None
    ) -> web.StreamResponse:
        """Have a held request answered with these fields; `cached` tokens are what the client is told."""
        body = call.body if fields is call.fields else legs.written(fields)
        headers = call.leg_headers(request_id, readable=cached is not None)
        try:
            answer = await self._engines.send(
                Stage.DECODE, call.engine, call.path, headers=headers, data=body
            )
        except Unreachable as error:
            return unreachable(call, error)
        async with answer:
            rewriter = None
            if cached is not None and call.api is not None and answer.ok and not packed(answer.headers):
                rewriter = usage.rewriter(call.api, answer.headers.get("Content-Type", ""), cached)
            return await relay(call.request, answer, rewriter)


def packed(headers: Mapping[str, str]) -> bool:
    """Whether the body is compressed."""
    return headers.get("Content-Encoding", "identity").lower() != "identity"


def unreachable(call: Call, error: BaseException) -> web.Response:
    """What a client is told when the local engine does not answer."""
    if refused(error):
        text = f"the decode node is not ready: nothing answers at {call.engine}"
        return flat(Kind.ServiceUnavailable, text)
    return flat(Kind.BadGateway, f"the decode node at {call.engine} gave no answer: {told(error)}")
