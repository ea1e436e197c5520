"""The real picker as a policy: director, producers, scorers and ledger, short of sockets.

It sees a request's body and headers, the answer's headers, its first token and its end with the usage, at
their virtual times; where it takes care of it itself (`disaggregation: inline`), also that a prompt has been
computed elsewhere. The tokens in between are not shown to it: no decision reads them, and they would cost
most of the time.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

import msgspec

from bench.fleet import text
from bench.fleet.fleet import Fleet
from bench.fleet.policy import World
from bench.fleet.scrapes import Scrapes
from bench.fleet.traffic import Request
from bench.fleet.wrong import WrongIndex
from bench.simulator.sequence import Sequence as EngineSequence
from endpoint_picker.admission.shedding import Shedding
from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.config import load, schema
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.director import Arrival, Director, Parts
from endpoint_picker.exchange import Books, Exchange
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Producer, Wiring
from endpoint_picker.scheduling.filters.roles import ROLE

SESSION_HEADER: Final = "x-session-id"
_STARTS: Final = {":status": "200", "content-type": "text/event-stream"}
_TOKEN: Final = b'data: {"choices":[{"index":0,"text":"x"}]}\n\n'
_PORT: Final = 8000
_NOWHERE: Final = msgspec.Raw(b"{}")
"""Where a computed prompt is: nobody asks here."""


class Places(NamedTuple):
    """Replicas that work for one request."""

    serves: int
    prefills: int | None


class Picker:
    """One picker. Raises ConfigError when its configuration is wrong."""

    def __init__(self, config: str, fleet: Fleet, world: World, rng: Random) -> None:
        self._world = world
        self.table = EndpointTable(stale_after=fleet.stale_after, capacity=max(16, len(fleet.engines)))
        self._scrapes = Scrapes(self.table, world.replicas, interval=fleet.scrape_interval, rng=rng)
        roles = fleet.roles or ("",) * len(fleet.engines)
        self._endpoints = [_endpoint(number, role) for number, role in enumerate(roles)]
        self._numbers = {endpoint.id: number for number, endpoint in enumerate(self._endpoints)}
        self._rows: dict[int, int] = {}
        """Replica → its row, while it is a member."""
        self._exchanges: dict[int, tuple[Exchange, Places]] = {}
        """Request → its exchange and its replicas."""
        self.director = self._director(config, fleet, rng)

    def choose(self, request: Request) -> int:
        now = self._world.now
        for replica, row in self._rows.items():
            self._scrapes.take(replica, row, now)
        exchange = self.director.route(Arrival(_headers(request), now), self._body(request))
        if exchange.order is None:
            exchange.take_body()
        places = self._places(exchange.decision)
        self._exchanges[request.number] = exchange, places
        return places.serves

    def prefiller(self, request: Request) -> int | None:
        return self._exchanges[request.number][1].prefills

    def prefilled(self, request: Request) -> None:
        exchange = self._told(request)
        exchange.computed(_NOWHERE)
        exchange.take_body()

    def not_prefilled(self, request: Request) -> None:
        exchange = self._told(request)
        exchange.not_computed()
        exchange.take_body()

    def first_token(self, request: Request) -> None:
        exchange = self._told(request)
        exchange.response_headers(_STARTS)
        exchange.response_chunk(_TOKEN)

    def end(self, request: Request, served: EngineSequence) -> None:
        exchange = self._told(request)
        del self._exchanges[request.number]
        exchange.response_chunk(_usage(served))
        exchange.end(complete=True)

    def failed(self, request: Request, status: int) -> None:
        exchange = self._told(request)
        del self._exchanges[request.number]
        if status:
            exchange.response_headers({":status": str(status)})
        exchange.end(complete=bool(status))

    def members(self, replicas: Sequence[int]) -> None:
        self.table.replace(self._endpoints[number] for number in replicas)
        rows = {number: self.table.row_of(self._endpoints[number].id) for number in replicas}
        self._rows = {number: row for number, row in rows.items() if row is not None}

    def _places(self, decision: Decision | None) -> "Places":
        assert decision is not None
        prefill = decision.prefill
        first = None if prefill is None else self._numbers[prefill.endpoints[0].id]
        return Places(self._numbers[decision.endpoint.id], first)

    def _told(self, request: Request) -> Exchange:
        """Its exchange: what the ledger is told next comes after the readings that were due before."""
        exchange, places = self._exchanges[request.number]
        for replica in places:
            row = None if replica is None else self._rows.get(replica)
            if replica is not None and row is not None:
                self._scrapes.take(replica, row, self._world.now)
        return exchange

    def _body(self, request: Request) -> bytes:
        return text.body(request, self._world.block_tokens)

    def _director(self, config: str, fleet: Fleet, rng: Random) -> Director:
        clock = self._world.clock
        metrics = Metrics(clock=clock)
        metrics.watch(self.table)
        wiring = Wiring(self.table, metrics, rng, clock)
        assembly = assemble(
            load.load(config, "the policy") if config else schema.default(), wiring, allow_experimental=True
        )
        books = Books(
            self.table,
            Ledger(self.table),
            metrics,
            clock,
            assembly.charge,
            plugins=tuple(assembly.instances.values()),
        )
        parts = Parts(
            books=books,
            parsers=Registry(assembly.parsers),
            producers=tuple(_producers(assembly, fleet.wrong_blocks, rng)),
            scheduler=assembly.scheduler,
            match=assembly.match,
            shedding=Shedding(assembly.detector),
            plugins=books.plugins,
        )
        return Director(parts)


def _producers(assembly: Assembly, wrong: float, rng: Random) -> Iterator[Producer]:
    """As they run; where the index is to err, right after whoever reads it."""
    for producer in assembly.producers:
        yield producer
        if wrong and assembly.match in producer.produces():  # type: ignore[attr-defined]
            yield WrongIndex(assembly.match, wrong, rng.getrandbits(63))


def _endpoint(number: int, role: str) -> Endpoint:
    high, low = divmod(number, 250)
    labels = {ROLE: role} if role else {}
    return Endpoint(f"replica-{number}", f"10.1.{high}.{low + 1}", _PORT, labels=labels)


def _headers(request: Request) -> dict[str, str]:
    headers = {":method": "POST", ":path": "/v1/completions", "x-request-id": f"request-{request.number}"}
    if request.session:
        headers[SESSION_HEADER] = request.session
    return headers


def _usage(served: EngineSequence) -> bytes:
    """The last event of a stream: what the engine counted."""
    usage = {
        "prompt_tokens": served.prompt_tokens,
        "completion_tokens": served.output_tokens,
        "total_tokens": served.total,
        "prompt_tokens_details": {"cached_tokens": served.cached},
    }
    return b"data: %b\n\ndata: [DONE]\n\n" % msgspec.json.encode({"choices": [], "usage": usage})
