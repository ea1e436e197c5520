"""Inline prefill: the picker itself has a prompt computed, while its request waits.

The prompt goes to the prefill endpoint, and to a second one where the first fails; whatever happens there,
the request goes on in the end, if need be to an endpoint that computes the prompt itself.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from endpoint_picker import aio, bounded
from endpoint_picker.core import ejection
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.exchange import SERVER_FAILURES, Exchange
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing import legs
from endpoint_picker.prefill_order import PrefillOrder

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 2.0
"""For a connection: an endpoint that is gone must leave time for another one."""
IDLE_SECONDS: Final = 4.0
"""For which a connection is kept: engines close theirs after 5 s, and a prompt sent just then is lost."""
LARGEST_ANSWER: Final = 16 << 20
"""Bytes: one token, and where the blocks of the longest prompt are."""

COMPUTED: Final = "computed"
"""The outcome that the request goes on with; the other ones say why nobody computed the prompt."""
_OUTCOMES: Final = {429: "busy", **dict.fromkeys(SERVER_FAILURES, "failed")}
"""By the status of the answer; any other speaks against the request: "refused"."""
FAULTS: Final = frozenset({"failed", "timeout"})
"""Outcomes that speak against the endpoint."""


class NotComputed(Exception):
    """An endpoint did not compute the prompt; the text is the outcome as metrics name it."""

    def __init__(self, outcome: str, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.outcome = outcome
        self.final = final
        """No other endpoint would do better."""


class InlinePrefills:
    """Carries out the orders of exchanges."""

    def __init__(self, table: EndpointTable, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._table = table
        self._metrics = metrics
        self._clock = clock
        self._tasks = aio.Tasks()
        self._complaints = Sparse(log)
        self._busy: Counter[str] = Counter()
        """Prompts that each endpoint is computing for us."""
        self._session: aiohttp.ClientSession | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, exchange: Exchange, done: Callable[[], None]) -> Callable[[], object]:
        """Carry out the exchange's order, then call `done`; answers how to call it off."""
        return self._tasks.start(f"prefill of {exchange.request.id}", self._serve(exchange, done)).cancel

    async def close(self) -> None:
        """End what is going on, and all connections."""
        await self._tasks.close()
        if self._session is not None:
            await self._session.close()

    async def _serve(self, exchange: Exchange, done: Callable[[], None]) -> None:
        started, outcome = self._clock(), "client_left"
        try:
            outcome = await self._carried_out(exchange)
        finally:
            self._metrics.inline_prefill(outcome, self._clock() - started)
        done()

    async def _carried_out(self, exchange: Exchange) -> str:
        """Complete the request, or leave it as it is; answers the outcome."""
        order = exchange.order
        assert order is not None
        try:
            exchange.computed(await self._asked(exchange, order))
            return COMPUTED
        except NotComputed as error:
            failure = error
        except Exception as error:  # a defect of ours must not cost the request
            log.exception("inline prefill of request %s failed", exchange.request.id)
            failure = NotComputed("internal", type(error).__name__)
        exchange.not_computed()
        self._complaints.warning(
            failure.outcome,
            "request %s goes on without inline prefill: %s",
            exchange.request.id,
            failure,
        )
        return failure.outcome

    async def _asked(self, exchange: Exchange, order: PrefillOrder) -> msgspec.Raw:
        """What the first endpoint answers that can. Raises NotComputed with what the last one had to say."""
        failure = NotComputed("gone", "the prefill endpoints have left the pool")
        deadline = asyncio.get_running_loop().time() + order.inline.timeout
        for row, endpoint in order.places:
            if not self._holds(row, endpoint):
                continue
            exchange.prefill_moves(row)
            try:
                params = await self._ask(order, endpoint, deadline)
            except NotComputed as error:
                failure = error
                if error.outcome in FAULTS:
                    self._judge(row, endpoint, failed=True)
                if error.final:
                    break
            else:
                self._judge(row, endpoint, failed=False)
                return params
        raise failure

    async def _ask(self, order: PrefillOrder, endpoint: Endpoint, deadline: float) -> msgspec.Raw:
        """One endpoint computes the prompt. Raises NotComputed."""
        place = endpoint.host_port
        if self._busy[endpoint.id] >= order.inline.most:
            raise NotComputed("busy", f"{place} computes {order.inline.most} prompts already")
        self._busy[endpoint.id] += 1
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await self._post(order, endpoint)
        except (aiohttp.ClientError, OSError) as error:
            if limit.expired():
                late = f"{place} did not answer within {order.inline.timeout:g} s"
                raise NotComputed("timeout", late, final=True) from error
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise NotComputed("failed", f"{place}: {why}") from error
        finally:
            self._busy[endpoint.id] -= 1
            if not self._busy[endpoint.id]:
                del self._busy[endpoint.id]

    async def _post(self, order: PrefillOrder, endpoint: Endpoint) -> msgspec.Raw:
        place = endpoint.host_port
        if self._session is None:
            self._session = _session()
        async with self._session.post(
            f"{order.inline.scheme}://{place}{order.path}",
            data=order.body,
            headers=order.headers_at(endpoint),
            ssl=order.inline.verify,
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                outcome = _OUTCOMES.get(response.status, "refused")
                why = f"{place} answered with status {response.status}"
                raise NotComputed(outcome, why, final=outcome == "refused")
            answer = await bounded.whole(response, LARGEST_ANSWER)
        try:
            params = legs.transfer_params(answer)
        except ValueError as error:
            raise NotComputed("failed", f"{place} answered no JSON object: {error}") from error
        if params is None:
            raise NotComputed(
                "no_params",
                f"{place} answered without kv_transfer_params: has it a KV connector?",
                final=True,
            )
        return params

    def _holds(self, row: int, endpoint: Endpoint) -> bool:
        """Whether it is still there; one of its name at another address is another one."""
        table = self._table
        return table.row_of(endpoint.id) == row and table[row].host_port == endpoint.host_port

    def _judge(self, row: int, endpoint: Endpoint, *, failed: bool) -> None:
        if self._holds(row, endpoint):
            ejection.judge(self._table, row, failed=failed, now=self._clock())


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=IDLE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        skip_auto_headers=("User-Agent",),
        auto_decompress=False,  # nothing packed is asked for, and a few bytes can unpack to very many
    )
