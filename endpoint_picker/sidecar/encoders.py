"""Has what is no text computed by encoders: each item of a chat's media goes to one of them, all at once."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from multidict import CIMultiDict

from endpoint_picker import aio, bounded
from endpoint_picker.core import wire
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.parsing import legs
from endpoint_picker.parsing.bodies import ABSENT, opening, string
from endpoint_picker.parsing.legs import Api, Fields
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.counts import Counts
from endpoint_picker.sidecar.engines import Engines, Stage, Unreachable, told
from endpoint_picker.sidecar.errors import Answered, Kind, flat
from endpoint_picker.sidecar.headers import Headers
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.targets import Target

sparse = Sparse(logging.getLogger(__name__))

PATH: Final = "/v1/chat/completions"
PARAMS: Final = "ec_transfer_params"
"""The field in which engines tell each other where encoded media are, by hash."""
MOST_AT_ONCE: Final = 64
"""Encode legs of one request; each has a connection of its own."""
BY_ADDRESS: Final = ("image_url", "audio_url", "video_url")
"""Types of items that are known by their URL: the same one is encoded once."""
TYPES: Final = (*BY_ADDRESS, "input_audio")


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"null")


class Encoders:
    """Runs the encode legs."""

    def __init__(self, options: Options, engines: Engines, counts: Counts) -> None:
        self._options = options
        self._engines = engines
        self._counts = counts
        self._merges = options.ec_connector == "ec-nixl"

    async def run(self, call: Call, encoders: Sequence[Target]) -> None:
        """Have the media of a held request encoded; its fields then say where they are. Raises Answered."""
        found = items(call.fields)
        answers = await self._all(call, encoders, found) if found else []
        fields = dict(call.fields)
        if self._merges and answers:
            fields[PARAMS] = self._merged(call.fields, answers)
        fields["cache_hit_threshold"] = legs.ZERO
        call.fields = fields
        call.body = legs.written(fields)

    async def _all(self, call: Call, encoders: Sequence[Target], found: Sequence[msgspec.Raw]) -> list[bytes]:
        """The answers of all encoders. Raises Answered, the others cancelled, when one fails."""
        tasks = aio.Tasks()
        gate = asyncio.Semaphore(self._at_once(call))
        legs_of_it = [
            tasks.start("encode leg", self._one(gate, call, encoders[number % len(encoders)], number, item))
            for number, item in enumerate(found)
        ]
        try:
            async with asyncio.timeout(self._options.prefill_timeout):
                answers = []
                for ended in asyncio.as_completed(legs_of_it):
                    answer = await ended
                    if not isinstance(answer, bytes):
                        raise self._failed(answer or "it failed")
                    answers.append(answer)
        except TimeoutError as error:
            raise self._failed("no answer in time") from error
        finally:
            await tasks.close()
        self._counts.encodes.labels(self._options.ec_connector, "done").inc()
        return answers

    def _at_once(self, call: Call) -> int:
        """How many legs may be under way: together they take no more than the largest body does."""
        copied = len(call.body) - len(memoryview(call.fields["messages"]))
        return max(1, min(MOST_AT_ONCE, self._options.max_request_body_bytes // max(1, copied)))

    async def _one(
        self, gate: asyncio.Semaphore, call: Call, encoder: Target, number: int, item: msgspec.Raw
    ) -> bytes | str:
        """One encoder's answer, or what is wrong with it."""
        async with gate:
            return await self._asked(call, encoder, number, item)

    async def _asked(self, call: Call, encoder: Target, number: int, item: msgspec.Raw) -> bytes | str:
        headers: Headers = CIMultiDict(
            {"Content-Type": "application/json", wire.REQUEST_ID: f"{call.request_id}-enc-{number}"}
        )
        body = legs.written(_prime(call.fields, item))
        try:
            answer = await self._engines.send(Stage.ENCODE, encoder, PATH, headers=headers, data=body)
            async with answer:
                whole = await bounded.whole(answer, self._options.max_request_body_bytes)
        except Unreachable as error:
            return f"the encode node at {encoder} gave no answer: {told(error)}"
        if not 200 <= answer.status < 300:
            return f"the encode node at {encoder} answered {answer.status}"
        return whole

    def _failed(self, why: str) -> Answered:
        self._counts.encodes.labels(self._options.ec_connector, "failed").inc()
        sparse.warning("encode", "%s; the request fails with it", why)
        return Answered(flat(Kind.BadGateway, why))

    def _merged(self, fields: Fields, answers: Sequence[bytes]) -> msgspec.Raw:
        """What all encoders handed over, beside what the client gave."""
        merged = _objects(fields.get(PARAMS))
        for answer in answers:
            handed = _handed(answer)
            if not handed:
                sparse.warning("empty", "an encode node answered no %s", PARAMS)
            merged |= handed
        return msgspec.Raw(legs.written(merged))


def items(fields: Fields) -> list[msgspec.Raw]:
    """The media of a chat, in order; of those with the same URL the first."""
    found: dict[object, msgspec.Raw] = {}
    try:
        messages = msgspec.json.decode(fields.get("messages", b"[]"), type=list[_Message])
        parts = [part for message in messages for part in _parts(message.content)]
        for part in parts:
            kind, identity = _identity(part)
            if kind in TYPES:
                found.setdefault(len(found) if identity is None else (kind, identity), part)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"messages: {error}") from error
    return list(found.values())


def _parts(content: msgspec.Raw) -> list[msgspec.Raw]:
    return msgspec.json.decode(content, type=list[msgspec.Raw]) if opening(content) == b"[" else []


def _identity(part: msgspec.Raw) -> tuple[str, str | None]:
    """The type of an item, and its URL where it has one."""
    item = legs.opened(bytes(part)) if opening(part) == b"{" else {}
    kind = string(item.get("type", ABSENT)) or ""
    holder = _objects(item.get(kind)) if kind in BY_ADDRESS else {}
    return kind, string(holder.get("url", ABSENT))


def _prime(fields: Fields, item: msgspec.Raw) -> Fields:
    message = b'[{"role":"user","content":[%b]}]' % bytes(item)
    return legs.one_token(Api.CHAT, fields) | {"messages": msgspec.Raw(message)}


def _handed(answer: bytes) -> Fields:
    try:
        return _objects(legs.opened(answer).get(PARAMS))
    except BadRequest:
        return {}


def _objects(raw: msgspec.Raw | None) -> Fields:
    """The fields of a value that is an object; none of anything else."""
    return legs.opened(bytes(raw)) if raw is not None and opening(raw) == b"{" else {}
