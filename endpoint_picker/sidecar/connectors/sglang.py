"""`sglang`: both engines get the same request, and a room in which they meet."""

import random
import time
from typing import Any

import msgspec
from aiohttp import web

from endpoint_picker.parsing import legs
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.connectors.pairs import side_by_side
from endpoint_picker.sidecar.connectors.prefills import Failed, Prefills
from endpoint_picker.sidecar.errors import Kind, flat
from endpoint_picker.sidecar.targets import Target


class Sglang:
    """Both legs at once."""

    pulls = False

    def __init__(self, prefills: Prefills) -> None:
        self._prefills = prefills
        self._rng = random.Random()

    async def serve(self, call: Call, prefiller: Target, source: Target | None) -> web.StreamResponse:
        room = {
            "bootstrap_host": prefiller.host,
            "bootstrap_port": self._prefills.options.sglang_bootstrap_port,
            "bootstrap_room": time.time_ns() + self._rng.randrange(1000),
        }
        fields = call.fields | {name: _raw(value) for name, value in room.items()}
        prefill = self._run(call, prefiller, legs.written(fields))
        return await side_by_side(self._prefills, call, prefill, fields, self._give_up)

    async def _run(self, call: Call, prefiller: Target, body: bytes) -> web.Response:
        answer = await self._prefills.run(call, prefiller, body)
        self._prefills.done()
        return answer

    async def _give_up(self, failed: Failed) -> web.StreamResponse:
        """Nothing to fall back to: an SGLang engine that decodes takes no request without a prefill."""
        if not self._prefills.options.strict_prefill:
            failed.strict = flat(Kind.BadGateway, str(failed))
        return self._prefills.fail(failed)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
