"""What is done with a request, and in which order."""

import logging
import random
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from endpoint_picker.core import wire
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.parsing import legs
from endpoint_picker.parsing.legs import Api
from endpoint_picker.sidecar import targets
from endpoint_picker.sidecar.allow import AllowList
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors import Connector, pulls
from endpoint_picker.sidecar.counts import Counts
from endpoint_picker.sidecar.decoder import Decoder
from endpoint_picker.sidecar.encoders import Encoders
from endpoint_picker.sidecar.errors import Answered, Kind, empty, flat, forbidden
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.ranks import Ranks
from endpoint_picker.sidecar.targets import Target

sparse = Sparse(logging.getLogger(__name__))

ROUTES: Final[Mapping[str, Api]] = {
    "/v1/chat/completions": Api.CHAT,
    "/v1/completions": Api.COMPLETIONS,
    "/v1/messages": Api.MESSAGES,
    "/v1/responses": Api.RESPONSES,
    "/inference/v1/generate": Api.GENERATE,
}
"""What has two legs, when it is posted; everything else is the engine's."""
HEALTH: Final = "/health"


class Handler:
    """Serves the requests of one rank."""

    def __init__(
        self,
        options: Options,
        *,
        engine: Target,
        decoder: Decoder,
        connector: Connector,
        encoders: Encoders | None,
        allowed: AllowList,
        counts: Counts,
        rng: random.Random,
    ) -> None:
        self._options = options
        self._engine = engine
        self._decoder = decoder
        self._connector = connector
        self._encoders = encoders
        """None: the engine takes no encoded media."""
        self._allowed = allowed
        self._counts = counts
        self._rng = rng
        self.ranks: Ranks | None = None
        """Set on the listener at which a header may choose the rank."""
        self.itself: Target | None = None
        """By what others name this listener, where that is known."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        if request.path == HEALTH and request.method == "GET":
            return empty(200)
        with self._counts.open.track_inprogress():
            try:
                return await self._answered(request)
            except Answered as answered:
                return answered.response
            except BadRequest as error:
                return flat(Kind.BadRequestError, error.message)
            except ConnectionResetError:
                return empty(499)  # the client left; nobody reads this
            except Exception:
                sparse.exception("defect", "a request for %r failed", request.path)
                return flat(Kind.InternalServerError, "the sidecar failed; see its log")

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        api = ROUTES.get(request.path) if request.method == "POST" else None
        call = Call(request, api, self._engine)
        if api is None:
            return await self._decoder.forward(call)
        prefiller = self._prefiller(call)
        source = self._source(call)
        encoders = self._encode_nodes(call)
        self._choose_rank(call)
        if encoders and self._encoders is not None:
            await call.hold(self._options.max_request_body_bytes)
            await self._encoders.run(call, encoders)
            if prefiller is None:
                return await self._decoder.send(call, call.fields, request_id=call.request_id)
            return await self._connector.serve(call, prefiller, source)
        if prefiller is not None:
            await call.hold(self._options.max_request_body_bytes)
            return await self._connector.serve(call, prefiller, source)
        return await self._alone(call, source)

    async def _alone(self, call: Call, source: Target | None) -> web.StreamResponse:
        """Nothing is computed elsewhere."""
        pulled = source is not None and source != self.itself
        if not pulled and not self._decoder.chunks(call.api):
            return await self._decoder.forward(call)
        await call.hold(self._options.max_request_body_bytes)
        fields = call.fields
        if source is not None and pulled:
            params = msgspec.json.encode(pulls.source(self._options, source))
            fields = legs.decode_leg(fields, params)
        return await self._decoder.send(call, fields)

    # === what the headers say ===

    def _prefiller(self, call: Call) -> Target | None:
        """Who computes the prompt. Raises Answered."""
        candidates = call.taken(wire.PREFILLER)
        if not candidates:
            return None
        sampling = self._options.enable_prefiller_sampling
        text = self._rng.choice(candidates) if sampling else candidates[0]
        target = targets.read(text)
        if target is None and self._allowed.any:
            raise Answered(flat(Kind.BadRequestError, f"{wire.PREFILLER}: {text!r} is not host:port"))
        if target is None or not self._allowed.allows(target):
            self._refuse(wire.PREFILLER, text)
            raise Answered(forbidden())
        return target

    def _source(self, call: Call) -> Target | None:
        """Who has a prefix of the prompt cached; what is of no use is left out."""
        named = call.taken(wire.KV_SOURCE)
        if not named or not self._connector.pulls:
            return None
        return self._permitted(wire.KV_SOURCE, named[0])

    def _encode_nodes(self, call: Call) -> list[Target]:
        """Who computes media; who is not allowed is left out."""
        named = call.taken(wire.ENCODERS)
        if self._encoders is None:
            return []
        permitted = (self._permitted(wire.ENCODERS, text) for text in named)
        return [target for target in permitted if target is not None]

    def _permitted(self, header: str, text: str) -> Target | None:
        target = targets.read(text)
        if target is not None and self._allowed.allows(target):
            return target
        self._refuse(header, text)
        return None

    def _choose_rank(self, call: Call) -> None:
        """Raises Answered when the header names no rank of ours."""
        named = call.headers.get(wire.DATA_PARALLEL)
        if named is None or self.ranks is None:
            return
        sparse.warning("rank", "%s is deprecated: send to the port of the rank", wire.DATA_PARALLEL)
        engine = self.ranks.named(named)
        if engine is None:
            raise Answered(empty(400))
        call.engine = engine

    def _refuse(self, header: str, text: str) -> None:
        self._counts.refused.labels(header).inc()
        sparse.warning(
            header,
            "%s: %r is not allowed; name it with --allowed-prefillers or --allowed-prefillers-file "
            "(%d entries now), or allow every place with --allow-any-prefiller",
            header,
            text[:100],
            len(self._allowed),
        )
