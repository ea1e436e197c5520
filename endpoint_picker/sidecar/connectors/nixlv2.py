"""`nixlv2`: the prefill replica answers where the cache is, and the decode replica fetches it."""

import msgspec
from aiohttp import web

from endpoint_picker.parsing import legs
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors import pulls
from endpoint_picker.sidecar.connectors.prefills import Failed, Prefills
from endpoint_picker.sidecar.errors import Kind, flat
from endpoint_picker.sidecar.relay import body_of
from endpoint_picker.sidecar.targets import Target


class Nixl:
    """One leg after the other."""

    def __init__(self, prefills: Prefills) -> None:
        self._prefills = prefills
        self.pulls = prefills.options.enable_p2p_pull

    async def serve(self, call: Call, prefiller: Target, source: Target | None) -> web.StreamResponse:
        assert call.api is not None
        if not legs.single(call.fields):
            return await self._prefills.decoder.send(call, call.fields)
        params = self._params(source if source != prefiller else None)
        leg = legs.written(legs.prefill_leg(call.api, call.fields, params))
        try:
            answer = await self._prefills.run(call, prefiller, leg, request_id=call.request_id)
            handed = _handed(body_of(answer), prefiller)
        except Failed as failed:
            return await self._prefills.fall_back(call, failed)
        decoder = self._prefills.decoder
        if handed is None:
            self._prefills.done("empty")
            return await decoder.send(call, call.fields)
        self._prefills.done()
        cached = legs.cached_tokens(body_of(answer)) or 0
        fields = legs.decode_leg(call.fields, handed)
        return await decoder.send(call, fields, request_id=call.request_id, cached=cached)

    def _params(self, source: Target | None) -> msgspec.Raw:
        if source is None:
            return legs.NIXL_PREFILL_PARAMS
        given = msgspec.json.decode(legs.NIXL_PREFILL_PARAMS)
        return msgspec.Raw(msgspec.json.encode(given | pulls.source(self._prefills.options, source)))


def _handed(body: bytes, prefiller: Target) -> msgspec.Raw | None:
    """What the decode leg is told. Raises Failed."""
    try:
        return legs.transfer_params(body)
    except ValueError as error:
        text = f"the prefill node at {prefiller} answered no JSON object: {error}"
        raise Failed("answer", text, flat(Kind.BadRequestError, text)) from error
