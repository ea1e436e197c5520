"""`shared-storage`: the engines meet in a common store, so only the prompt has to be there.

A request with `cache_hit_threshold` is decoded at once where enough of its prompt is stored already; the
engine says when it is not.
"""

from typing import Final

import aiohttp
import msgspec
from aiohttp import web

from endpoint_picker.parsing import legs
from endpoint_picker.parsing.legs import Api, Fields
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors.prefills import Failed, Prefills
from endpoint_picker.sidecar.decoder import unreachable
from endpoint_picker.sidecar.engines import Unreachable
from endpoint_picker.sidecar.relay import body_of, relay
from endpoint_picker.sidecar.targets import Target

THRESHOLD: Final = "cache_hit_threshold"
TOO_LITTLE: Final = "cache_threshold"
"""The reason to finish of an engine that has too little of the prompt."""
EVENTS: Final = 2
"""Events of a stream that are looked at: the engine says so in one of the first."""
LARGEST_BEGINNING: Final = 64 << 10
"""Bytes of a stream that are held for that."""


class SharedStorage:
    """Decode first where that may do, else one leg after the other."""

    pulls = False

    def __init__(self, prefills: Prefills) -> None:
        self._prefills = prefills

    async def serve(self, call: Call, prefiller: Target, source: Target | None) -> web.StreamResponse:
        if THRESHOLD in call.fields:
            answer = await self._tried(call)
            if answer is not None:
                return answer
        # The engine must not refuse again.
        decode = {**call.fields, THRESHOLD: legs.ZERO}
        try:
            await self._prefills.run(call, prefiller, legs.written(self._leg(call)))
        except Failed as failed:
            return await self._prefills.fall_back(call, failed, decode if THRESHOLD in call.fields else None)
        self._prefills.done()
        return await self._prefills.decoder.send(call, decode)

    def _leg(self, call: Call) -> Fields:
        """The prompt for one token; streamed or not, as the client has it."""
        assert call.api is not None
        streaming: Fields = {
            name: value for name, value in call.fields.items() if name in ("stream", "stream_options")
        }
        leg = legs.one_token(call.api, call.fields)
        del leg["stream"]
        if call.api in (Api.CHAT, Api.COMPLETIONS, Api.MESSAGES):
            leg["max_completion_tokens"] = legs.ONE
        return {**leg, **streaming, THRESHOLD: legs.ZERO}

    async def _tried(self, call: Call) -> web.StreamResponse | None:
        """The answer without a prefill; None where the engine has too little of the prompt."""
        decoder = self._prefills.decoder
        opened = await decoder.open(call, call.fields, readable=True)
        if isinstance(opened, web.Response) or opened.status >= 400:
            return await decoder.pass_on(call, opened)
        if opened.content_type != "text/event-stream":
            answer = await decoder.whole(call, opened)
            return None if refuses(body_of(answer)) else answer
        return await _streamed(call, opened)


async def _streamed(call: Call, opened: aiohttp.ClientResponse) -> web.StreamResponse | None:
    async with opened:
        try:
            beginning = await _beginning(opened)
        except Unreachable as error:
            return unreachable(call, error)
        lines = [line.removeprefix(b"data:") for line in beginning.splitlines()]
        if any(refuses(line) for line in lines):
            return None
        return await relay(call.request, opened, before=beginning)


async def _beginning(opened: aiohttp.ClientResponse) -> bytes:
    """The first events, or all there is."""
    held = bytearray()
    while held.count(b"\n\n") < EVENTS and len(held) < LARGEST_BEGINNING:
        chunk = await opened.content.readany()
        if not chunk:
            break
        held += chunk
    return bytes(held)


def refuses(document: bytes) -> bool:
    """Whether an answer, or an event, says that too little is stored."""
    if TOO_LITTLE.encode() not in document:
        return False
    try:
        choices = msgspec.json.decode(document, type=_Choices).choices
    except (ValueError, RecursionError):
        return False
    return any(choice.finish_reason == TOO_LITTLE for choice in choices[:1])


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Choices(msgspec.Struct):
    choices: list[_Choice] = []
