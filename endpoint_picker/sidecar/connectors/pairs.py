"""Two legs side by side: the engines meet by themselves while both are under way.

The decode's answer is held until the prefill's verdict. That costs nothing, since no token can come before
the prompt is computed, and leaves the way back open when it is not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
from aiohttp import web

from endpoint_picker import aio
from endpoint_picker.parsing.legs import Fields
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors.prefills import Failed, Prefills
from endpoint_picker.sidecar.decoder import Opened

Recover = Callable[[Failed], Awaitable[web.StreamResponse]]
"""What is done when the prefill failed; the decode has been given up by then."""


async def side_by_side(
    prefills: Prefills,
    call: Call,
    prefill: Coroutine[Any, Any, web.Response],
    decode: Fields,
    recover: Recover,
) -> web.StreamResponse:
    """Run both legs; the answer is the decode's. When the client leaves, both are given up."""
    tasks = aio.Tasks()
    first = tasks.start("prefill leg", _outcome(prefill))
    second = tasks.start("decode leg", prefills.decoder.open(call, decode))
    try:
        failed = await _verdict(first, second)
        if failed is None:
            opened = await second
            return await prefills.decoder.pass_on(call, opened or web.Response(status=500))
        await _given_up(tasks, second)
        return await recover(failed)
    finally:
        await _given_up(tasks, second)


async def _outcome(prefill: Coroutine[Any, Any, web.Response]) -> web.Response | Failed:
    try:
        return await prefill
    except Failed as failed:
        return failed


async def _verdict(
    prefill: "asyncio.Task[web.Response | Failed | None]", decode: "asyncio.Task[Opened | None]"
) -> Failed | None:
    """Why the prefill failed; None when it did not, or when the decode failed first: its answer counts."""
    await asyncio.wait({prefill, decode}, return_when=asyncio.FIRST_COMPLETED)
    if decode.done() and not prefill.done() and _bad(decode.result()):
        return None
    outcome = await prefill
    return outcome if isinstance(outcome, Failed) else None


def _bad(opened: Opened | None) -> bool:
    return opened is None or opened.status >= 400


async def _given_up(tasks: aio.Tasks, decode: "asyncio.Task[Opened | None]") -> None:
    await tasks.close()
    if (
        decode.done()
        and not decode.cancelled()
        and isinstance(opened := decode.result(), aiohttp.ClientResponse)
    ):
        opened.close()
