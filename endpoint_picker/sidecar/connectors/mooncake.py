"""`mooncake`: the decode replica is told the engine id of the prefill replica, which is asked for first."""

import random
import time
import uuid
from collections import OrderedDict
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from endpoint_picker.core import wire
from endpoint_picker.parsing import legs
from endpoint_picker.sidecar import engines
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors.pairs import side_by_side
from endpoint_picker.sidecar.connectors.prefills import Failed, Prefills
from endpoint_picker.sidecar.engines import Unreachable
from endpoint_picker.sidecar.errors import Kind, flat
from endpoint_picker.sidecar.targets import Target

QUERY: Final = "/query"
QUERY_SECONDS: Final = 5.0
MOST_KNOWN: Final = 1024
KNOWN_SECONDS: Final = 30.0
"""How long an answer counts: a replica that was restarted has another engine id."""
LARGEST: Final = 1 << 20


class _Rank(msgspec.Struct):
    engine_id: str


class Known(NamedTuple):
    """The ranks of one prefill replica."""

    engine_ids: dict[str, _Rank]
    """By rank."""
    until: float


class Mooncake:
    """Asks once in a while, then runs both legs at once."""

    pulls = False

    def __init__(self, prefills: Prefills) -> None:
        self._prefills = prefills
        self._rng = random.Random()
        self._known: OrderedDict[Target, Known] = OrderedDict()

    async def serve(self, call: Call, prefiller: Target, source: Target | None) -> web.StreamResponse:
        if not legs.single(call.fields):
            return await self._prefills.decoder.send(call, call.fields)

        async def recover(failed: Failed) -> web.StreamResponse:
            self._known.pop(prefiller, None)
            return await self._prefills.fall_back(call, failed)

        try:
            ranks = await self._ranks(prefiller)
        except Failed as failed:
            return await recover(failed)
        rank = self._rng.choice(sorted(ranks))
        transfer = f"xfer-{uuid.uuid4()}"
        prefill = self._run(call, prefiller, rank, _leg(call, transfer))
        decode = self._decode(call, prefiller, ranks[rank].engine_id, transfer)
        response = await side_by_side(self._prefills, call, prefill, decode, recover)
        if response.status >= 500:
            self._known.pop(prefiller, None)
        return response

    async def _run(self, call: Call, prefiller: Target, rank: str, leg: bytes) -> web.Response:
        answer = await self._prefills.run(call, prefiller, leg, extra={wire.DATA_PARALLEL_RANK: rank})
        self._prefills.done()
        return answer

    def _decode(self, call: Call, prefiller: Target, engine_id: str, transfer: str) -> legs.Fields:
        params: dict[str, Any] = {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "transfer_id": transfer,
            "remote_bootstrap_addr": f"http://{self._bootstrap(prefiller)}",
            "remote_engine_id": engine_id,
        }
        return legs.decode_leg(call.fields, msgspec.json.encode(params))

    def _bootstrap(self, prefiller: Target) -> Target:
        return Target(prefiller.host, self._prefills.options.mooncake_bootstrap_port)

    async def _ranks(self, prefiller: Target) -> dict[str, _Rank]:
        """The ranks of a prefill replica, at least one. Raises Failed."""
        known = self._known.get(prefiller)
        if known is not None and known.until > time.monotonic():
            self._known.move_to_end(prefiller)
            return known.engine_ids
        ranks = await self._asked(self._bootstrap(prefiller))
        self._known[prefiller] = Known(ranks, time.monotonic() + KNOWN_SECONDS)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return ranks

    async def _asked(self, bootstrap: Target) -> dict[str, _Rank]:
        try:
            body = await self._prefills.engines.fetch(bootstrap, QUERY, seconds=QUERY_SECONDS, limit=LARGEST)
            ranks = msgspec.json.decode(body, type=dict[str, _Rank])
        except Unreachable as error:
            raise _unknown(bootstrap, engines.told(error)) from error
        except (ValueError, RecursionError) as error:
            raise _unknown(bootstrap, str(error)) from error
        if not ranks or not all(rank.isascii() and rank.isdecimal() for rank in ranks):
            raise _unknown(bootstrap, "it names no ranks")
        return ranks


def _leg(call: Call, transfer: str) -> bytes:
    """What the prefill replica is sent. Raises BadRequest."""
    assert call.api is not None
    params = {"do_remote_prefill": False, "do_remote_decode": True, "transfer_id": transfer}
    return legs.written(legs.decode_leg(legs.one_token(call.api, call.fields), msgspec.json.encode(params)))


def _unknown(bootstrap: Target, why: str) -> Failed:
    text = f"the prefill node at {bootstrap} does not tell its engine ids: {why}"
    return Failed("bootstrap", text, flat(Kind.BadGateway, text))
