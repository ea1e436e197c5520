"""An engine's answer on its way to the client: bytes go on as they come."""

import logging

import aiohttp
from aiohttp import web

from endpoint_picker import bounded
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.sidecar import headers
from endpoint_picker.sidecar.engines import Unreachable, told
from endpoint_picker.sidecar.usage import Rewriter

sparse = Sparse(logging.getLogger(__name__))


async def relay(
    request: web.Request,
    answer: aiohttp.ClientResponse,
    rewriter: Rewriter | None = None,
    *,
    before: bytes = b"",
) -> web.StreamResponse:
    """Pass the answer on; `before` was read of it already.

    One that breaks off breaks off for the client too: it must not look whole.
    """
    # What is rewritten has another length.
    onward = headers.onward(answer.headers, drop=("content-length",) if rewriter else ())
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=onward)
    await response.prepare(request)
    try:
        if before:
            await response.write(before)
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


def body_of(answer: web.Response) -> bytes:
    """The body of an answer that is in one piece."""
    return answer.body if isinstance(answer.body, bytes) else b""


async def whole(answer: aiohttp.ClientResponse, limit: int) -> web.Response:
    """The answer in one piece, ready to be passed on. Raises what `Unreachable` lists."""
    async with answer:
        body = await bounded.whole(answer, limit)
    onward = headers.onward(answer.headers, drop=("content-length",))
    return web.Response(status=answer.status, reason=answer.reason, headers=onward, body=body)
