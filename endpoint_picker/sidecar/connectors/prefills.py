"""The prefill leg, and what becomes of a request whose prefill failed."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp import web

from endpoint_picker.observability.logs import Sparse
from endpoint_picker.parsing.legs import Fields
from endpoint_picker.sidecar import engines, headers
from endpoint_picker.sidecar.call import Call
from endpoint_picker.sidecar.counts import Counts
from endpoint_picker.sidecar.decoder import Decoder
from endpoint_picker.sidecar.engines import Engines, Stage, Unreachable
from endpoint_picker.sidecar.errors import Kind, empty, flat
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.relay import body_of, whole
from endpoint_picker.sidecar.targets import Target

sparse = Sparse(logging.getLogger(__name__))

WORTH_ANOTHER_TRY: Final = frozenset({502, 503, 504})


class Failed(Exception):
    """The prompt was not computed elsewhere."""

    def __init__(self, reason: str, detail: str, strict: web.Response) -> None:
        super().__init__(detail)
        self.reason = reason
        """One of a few words: a label of the metric."""
        self.strict = strict
        """What the client is told where nothing may be decoded without the prefill."""


class Prefills:
    """Runs prefill legs for one connector."""

    def __init__(self, options: Options, engines: Engines, decoder: Decoder, counts: Counts) -> None:
        self.options = options
        self.engines = engines
        self.decoder = decoder
        self._counts = counts
        self._name = options.kv_connector

    async def run(
        self,
        call: Call,
        target: Target,
        body: bytes,
        *,
        request_id: str | None = None,
        extra: Mapping[str, str] = {},
    ) -> web.Response:
        """Send the leg and read its answer, a good one. Raises Failed."""
        fields = headers.with_fields(call.leg_headers(request_id, readable=True), extra)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.options.prefill_timeout):
                answer = await self._tried(call, target, body, fields)
        except TimeoutError as error:
            seconds = self.options.prefill_timeout
            text = f"the prefill node at {target} did not answer within {seconds:g} s"
            raise Failed("timeout", text, flat(Kind.GatewayTimeout, text)) from error
        except Unreachable as error:
            text = f"the prefill node at {target} gave no answer: {engines.told(error)}"
            raise Failed("connection", text, empty(502)) from error
        finally:
            self._counts.prefill_seconds.labels(self._name).observe(time.monotonic() - started)
        if not 200 <= answer.status < 300:
            text = f"the prefill node at {target} answered {answer.status}: {_beginning(answer)}"
            raise Failed(f"status {answer.status}", text, answer)
        return answer

    def done(self, outcome: str = "done") -> None:
        """Count a prefill that did not fail."""
        self._counts.prefills.labels(self._name, outcome, "").inc()

    async def fall_back(self, call: Call, failed: Failed, fields: Fields | None = None) -> web.StreamResponse:
        """Decode these fields (else the client's own) without the prefill, unless that is not wanted."""
        if self.options.strict_prefill:
            return self.fail(failed)
        self._counts.prefills.labels(self._name, "fallback", failed.reason).inc()
        sparse.warning(failed.reason, "%s; the request is decoded without it", failed)
        return await self.decoder.send(call, call.fields if fields is None else fields)

    def fail(self, failed: Failed) -> web.Response:
        """Give the request up."""
        self._counts.prefills.labels(self._name, "failed", failed.reason).inc()
        sparse.warning(failed.reason, "%s; the request fails with it", failed)
        return failed.strict

    async def _tried(self, call: Call, target: Target, body: bytes, fields: headers.Headers) -> web.Response:
        """The first answer that is worth keeping, or the last. Raises what `Unreachable` lists."""
        for _ in range(self.options.prefill_max_retries):
            try:
                answer = await self._once(call, target, body, fields)
                if answer.status not in WORTH_ANOTHER_TRY:
                    return answer
            except aiohttp.ClientError as error:
                sparse.warning("retry", "the prefill node at %s: %s; it is tried again", target, error)
            await asyncio.sleep(self.options.prefill_retry_backoff)
        return await self._once(call, target, body, fields)

    async def _once(self, call: Call, target: Target, body: bytes, fields: headers.Headers) -> web.Response:
        answer = await self.engines.send(Stage.PREFILL, target, call.path, headers=fields, data=body)
        return await whole(answer, self.options.max_request_body_bytes)


def _beginning(answer: web.Response) -> str:
    return body_of(answer)[:200].decode(errors="replace")
