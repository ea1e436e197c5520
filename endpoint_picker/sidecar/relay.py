"""An engine's answer on its way to the client: bytes go on as they come."""

import logging

import aiohttp
from aiohttp import web

from endpoint_picker.observability.logs import Sparse
from endpoint_picker.sidecar import headers
from endpoint_picker.sidecar.engines import Unreachable, told
from endpoint_picker.sidecar.usage import Rewriter

sparse = Sparse(logging.getLogger(__name__))


async def relay(
    request: web.Request, answer: aiohttp.ClientResponse, rewriter: Rewriter | None = None
) -> web.StreamResponse:
    """Pass the answer on. One that breaks off breaks off for the client too: it must not look whole."""
    # What is rewritten has another length.
    onward = headers.onward(answer.headers, drop=("content-length",) if rewriter else ())
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=onward)
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            if data := rewriter.feed(chunk) if rewriter else chunk:
                await response.write(data)
        if rewriter and (data := rewriter.end()):
            await response.write(data)
        await response.write_eof()
    except Unreachable as error:
        if request.transport is not None and not request.transport.is_closing():
            sparse.warning("broke off", "an answer of %s broke off: %s", answer.url.authority, told(error))
            request.transport.close()
    return response
