"""`offloading`: engines hand each other blocks from their offloading tiers, peer to peer."""

import uuid
from typing import Any

import msgspec
from aiohttp import web

from endpoint_picker.parsing import legs
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors import pulls
from endpoint_picker.sidecar.connectors.pairs import side_by_side
from endpoint_picker.sidecar.connectors.prefills import Failed, Prefills
from endpoint_picker.sidecar.targets import Target


class Offloading:
    """Both legs at once."""

    pulls = True

    def __init__(self, prefills: Prefills) -> None:
        self._prefills = prefills

    async def serve(self, call: Call, prefiller: Target, source: Target | None) -> web.StreamResponse:
        assert call.api is not None
        options = self._prefills.options
        meeting = {"kv_request_id": str(uuid.uuid4())}
        ours: dict[str, Any] = {"remote_decoder": meeting}
        if source is not None and source != prefiller:
            ours |= pulls.source(options, source)
        leg = legs.decode_leg(legs.one_token(call.api, call.fields), msgspec.json.encode(ours))
        theirs = {"remote_prefiller": meeting | pulls.peer(options, prefiller)}
        decode = legs.decode_leg(call.fields, msgspec.json.encode(theirs))

        async def run() -> web.Response:
            answer = await self._prefills.run(call, prefiller, legs.written(leg))
            self._prefills.done()
            return answer

        async def recover(failed: Failed) -> web.StreamResponse:
            return await self._prefills.fall_back(call, failed)

        return await side_by_side(self._prefills, call, run(), decode, recover)
