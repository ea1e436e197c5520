"""The local engine."""

from collections.abc import Mapping

import aiohttp
from aiohttp import web

from endpoint_picker.parsing import legs
from endpoint_picker.parsing.legs import Api, Fields
from endpoint_picker.sidecar import chunked, upgrade, usage
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.engines import Engines, Stage, Unreachable, refused, told
from endpoint_picker.sidecar.errors import Kind, flat
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.relay import relay, whole

Opened = aiohttp.ClientResponse | web.Response
"""The head of the engine's answer, or an answer of ours where the engine gave none."""


class Decoder:
    """Has the engine beside us answer."""

    def __init__(self, options: Options, engines: Engines) -> None:
        self._engines = engines
        self._chunk = options.decode_chunk_size
        self._largest = options.max_request_body_bytes

    def chunks(self, api: Api | None) -> bool:
        """Whether requests of this kind may be decoded in pieces, and so must be held."""
        return self._chunk > 0 and api is Api.CHAT

    async def forward(self, call: Call) -> web.StreamResponse:
        """Pass a request on as it comes in."""
        request = call.request
        if upgrade.wanted(request):
            return await self._joined(call)
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
        if self.chunks(call.api):
            plan = chunked.plan(fields, self._chunk, cached)
            if plan is not None:
                return await plan.run(call.request, lambda piece: self._piece(call, piece, request_id))
        opened = await self.open(call, fields, request_id=request_id, readable=cached is not None)
        return await self.pass_on(call, opened, cached)

    async def open(
        self, call: Call, fields: Fields, *, request_id: str | None = None, readable: bool = False
    ) -> Opened:
        """Send a held request; `readable`: nothing may pack the answer."""
        body = call.body if fields is call.fields else legs.written(fields)
        headers = call.leg_headers(request_id, readable=readable)
        try:
            return await self._engines.send(Stage.DECODE, call.engine, call.path, headers=headers, data=body)
        except Unreachable as error:
            return unreachable(call, error)

    async def pass_on(self, call: Call, opened: Opened, cached: int | None = None) -> web.StreamResponse:
        """Give the client what `open` answered."""
        if isinstance(opened, web.Response):
            return opened
        async with opened:
            rewriter = None
            if cached is not None and call.api is not None and opened.ok and not _packed(opened.headers):
                rewriter = usage.rewriter(call.api, opened.headers.get("Content-Type", ""), cached)
            return await relay(call.request, opened, rewriter)

    async def whole(self, call: Call, opened: Opened) -> web.Response:
        """What `open` answered, read to its end."""
        if isinstance(opened, web.Response):
            return opened
        try:
            return await whole(opened, self._largest)
        except Unreachable as error:
            return unreachable(call, error)

    async def _joined(self, call: Call) -> web.StreamResponse:
        try:
            engine = await self._engines.join(
                Stage.DECODE,
                call.engine,
                call.path,
                headers=upgrade.onward(call),
                protocols=upgrade.protocols(call.request),
                largest=self._largest,
            )
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status)
        except Unreachable as error:
            return unreachable(call, error)
        async with engine:
            return await upgrade.bridge(call, engine, self._largest)

    async def _piece(self, call: Call, fields: Fields, request_id: str | None) -> web.Response:
        return await self.whole(call, await self.open(call, fields, request_id=request_id, readable=True))


def unreachable(call: Call, error: BaseException) -> web.Response:
    """What a client is told when the local engine does not answer."""
    if refused(error):
        text = f"the decode node is not ready: nothing answers at {call.engine}"
        return flat(Kind.ServiceUnavailable, text)
    return flat(Kind.BadGateway, f"the decode node at {call.engine} gave no answer: {told(error)}")


def _packed(headers: Mapping[str, str]) -> bool:
    """Whether the body is compressed."""
    return headers.get("Content-Encoding", "identity").lower() != "identity"
