"""One request's life up to the answer: parse → produce → schedule → reserve; the rest is its exchange's.

The director is synchronous: what it is asked, it answers. It owns the order of the steps; what each
step does lives in the rooms below.
"""

import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from endpoint_picker import hooks
from endpoint_picker.admission.shedding import Shedding
from endpoint_picker.core import wire
from endpoint_picker.core.attributes import Key, PrefixMatch, prefix_match
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import (
    REJECTED_NO_ENDPOINTS,
    REJECTED_SATURATED,
    BadRequest,
    Internal,
    PreconditionFailed,
    Refusal,
    ResourceExhausted,
    ServiceUnavailable,
)
from endpoint_picker.core.records import record
from endpoint_picker.core.request import Payload, Request
from endpoint_picker.exchange import Books, Exchange, labels_of
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Parser, Producer
from endpoint_picker.prefill_order import UNSPLIT, prefill_order
from endpoint_picker.scheduling.disagg import conditional
from endpoint_picker.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)


@record
class Arrival:
    """What is known of a request before its body is read."""

    headers: Mapping[str, str]
    received_at: float
    subset: tuple[str, ...] | None = None
    """The only endpoints (`ip[:port]`) that may be picked; None: all."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the composition root wires together for the director."""

    books: Books
    parsers: Registry
    producers: Sequence[Producer]
    """Each after those whose facts it reads."""
    scheduler: Scheduler
    match: Key[PrefixMatch] = field(default_factory=prefix_match)
    """The fact that tells what endpoints hold of a prompt."""
    shedding: Shedding | None = None
    """Refuses requests of negative priority when the pool is full."""
    plugins: Sequence[object] = ()
    """All instances: each serves the extension points whose methods it has."""
    honour_subset: bool = True


class Director:
    """Routes requests and keeps the books about them."""

    def __init__(self, parts: Parts) -> None:
        self.change(parts)

    def change(self, parts: Parts) -> None:
        """Route by these parts from the next request on; what goes on keeps those that it began with."""
        self._parts = parts
        self._books = parts.books
        self.now: Callable[[], float] = parts.books.clock
        """Monotonic seconds."""
        guard = self._guard = parts.books.guard
        self._reads = guard.steps(hooks.HEADERS, parts.plugins)
        self._screens = guard.steps(hooks.SCREENER, parts.plugins)
        self._produces = guard.steps(hooks.PRODUCER, parts.producers)
        self._sheds = guard.steps(hooks.ADMISSION, (parts.shedding,))
        self._admits = guard.steps(hooks.ADMISSION, parts.plugins)
        self._learns = guard.steps(hooks.LEARNER, parts.plugins)
        self._learns_at = guard.steps(hooks.LEARNER_AT, parts.plugins)

    def route(self, arrival: Arrival, body: bytes | None) -> Exchange:
        """Pick the endpoint for a request. `body` is None where there is none, or none can be had yet.

        Raises a Refusal when no replica shall serve it; whatever else goes wrong inside is logged and
        raised as `Internal`.
        """
        started = self.now()
        request = _request(arrival)
        if request.objective:
            request.priority = self._books.table.objectives.priority(request.objective)
        try:
            return self._route(request, arrival, body)
        except Refusal as refusal:
            self._books.metrics.refused(labels_of(request), refusal.code)
            raise
        except Exception as error:
            log.exception("request %s could not be routed", request.id)
            self._books.metrics.refused(labels_of(request), Internal.__name__)
            raise Internal(f"{type(error).__name__} while routing the request") from error
        finally:
            self._books.metrics.request_processed(self.now() - started)

    def refuse(self, refusal: Refusal, headers: Mapping[str, str]) -> None:
        """Count a request that was refused before it could be routed."""
        request = _request(Arrival(headers, 0.0))
        self._books.metrics.refused(labels_of(request), refusal.code)

    def unrouted(self) -> Exchange:
        """An exchange whose request was never seen: its response is watched all the same."""
        request = _request(Arrival({}, self.now()))
        try:
            parser = self._parts.parsers.resolve(request.path)
        except Refusal:
            parser = None
        return Exchange(self._books, request, None, parser, b"")

    def learn(self, exchange: Exchange, body: bytes) -> bytes:
        """Read a body that came after the pick; answers the bytes to forward.

        The pick stands, but later requests profit from what went where. A body that cannot be read is
        the replica's to refuse: it is forwarded as it is.
        """
        request, decision = exchange.request, exchange.decision
        try:
            parser = self._parts.parsers.resolve(request.path)
            self._read(request, parser, body)
        except Refusal:
            return body
        exchange.parser = parser
        if decision is not None:
            self._guard.run(self._produces, request, self._books.table.candidates(self.now()))
            self._guard.run(self._learns, request, decision)
        request.let_go()
        return _forwarded(request, parser, body)

    def served(self, exchange: Exchange, host_port: str) -> None:
        """The data plane says which endpoint serves the request: perhaps not the first choice."""
        exchange.request.served = host_port
        row = exchange.move(host_port)
        if row is not None:
            self._guard.run(self._learns_at, exchange.request, row)

    def _route(self, request: Request, arrival: Arrival, body: bytes | None) -> Exchange:
        parser, forwarded = None, b""
        if body is not None:
            parser = self._parts.parsers.resolve(request.path)
            self._read(request, parser, body)
            forwarded = _forwarded(request, parser, body)
            request.size = len(forwarded)
        self._guard.run(self._reads, request)
        self._books.metrics.received(labels_of(request), request.size)
        everybody = self._candidates(arrival.subset)
        if self._screens:
            everybody = self._screened(request, everybody)
        candidates = self._healthy(everybody)
        self._guard.run(self._produces, request, candidates)
        self._admit(request, candidates)
        decision = self._schedule(request, candidates, everybody)
        if conditional.unavailable(request, decision, self._parts.match):
            raise PreconditionFailed(conditional.MESSAGE)
        todo = None
        if decision.inline is not None:
            todo = prefill_order(request, decision, forwarded, self._books.table)
            if todo is None:
                self._books.metrics.inline_prefill(UNSPLIT, 0.0)
                decision = replace(decision, prefill=None, inline=None)
        self._guard.run(self._learns, request, decision)
        request.let_go()
        # The last step: the exchange charges the endpoints, and whoever has it ends it.
        return Exchange(self._books, request, decision, parser, forwarded, todo)

    def _read(self, request: Request, parser: Parser, body: bytes) -> None:
        request.payload = self._parsed(request, parser, body)
        if request.payload.model is None:
            return
        wanted = "" if request.payload.model_is_fixed else _text(request.headers, wire.MODEL_REWRITE)
        request.target_model = wanted or request.model
        if not request.target_model:
            raise BadRequest("model not found in request body")

    def _parsed(self, request: Request, parser: Parser, body: bytes) -> Payload:
        """A parser that fails, other than by refusing the body, leaves a request that is routed unread."""
        try:
            return parser.parse(request.path, body)
        except Refusal:
            raise
        except Exception:
            self._guard.unread(parser, "the body of request %s could not be read", request.id)
            return Payload()

    def _candidates(self, subset: tuple[str, ...] | None) -> Candidates:
        """Everybody in the pool, or in the subset. Raises ServiceUnavailable when that is nobody."""
        table, now = self._books.table, self.now()
        candidates = table.candidates(now)
        if subset is not None and self._parts.honour_subset:
            rows = sorted({row for entry in subset for row in table.rows_at(_place(entry))})
            candidates = Candidates(table, np.array(rows, np.int64), now)
        if not len(candidates):
            raise ServiceUnavailable(
                "failed to find endpoint candidates for serving the request", reason=REJECTED_NO_ENDPOINTS
            )
        return candidates

    def _healthy(self, candidates: Candidates) -> Candidates:
        """Without those that only fail, if others are left."""
        until = candidates.table.ejected_until[candidates.rows]
        if until[until.argmax()] <= candidates.now:
            return candidates
        healthy = until <= candidates.now
        return candidates.where(healthy) if healthy.any() else candidates

    def _schedule(self, request: Request, candidates: Candidates, everybody: Candidates) -> Decision:
        """Those that only fail are better than nobody: perhaps nobody else has the role that is asked for."""
        try:
            return self._parts.scheduler.schedule(request, candidates)
        except (ResourceExhausted, ServiceUnavailable):
            if candidates is everybody:
                raise
            return self._parts.scheduler.schedule(request, everybody)

    def _screened(self, request: Request, candidates: Candidates) -> Candidates:
        """Whom all screeners leave; each is asked about everybody."""
        mask = np.ones(len(candidates), np.bool_)
        check = hooks.mask_for(candidates)
        for step in self._screens:
            mask &= self._guard.ask(step, check, mask, request, candidates)
        if not mask.any():
            raise ServiceUnavailable(
                "screeners eliminated all endpoint candidates", reason=REJECTED_NO_ENDPOINTS
            )
        return candidates.where(mask)

    def _admit(self, request: Request, candidates: Candidates) -> None:
        """The first that says no refuses the request."""
        sheds = self._sheds if request.priority < 0 else ()
        for step in (*sheds, *self._admits):
            why_not = self._guard.ask(step, hooks.text, "", request, candidates)
            if why_not:
                raise ResourceExhausted(why_not, reason=REJECTED_SATURATED)


def _request(arrival: Arrival) -> Request:
    headers = arrival.headers
    return Request(
        id=headers.get(wire.REQUEST_ID) or str(uuid.uuid4()),
        headers=headers,
        path=_first(headers, wire.PATHS) or wire.DEFAULT_PATH,
        received_at=arrival.received_at,
        payload=Payload(),
        objective=_text(headers, wire.OBJECTIVE),
        fairness_id=_text(headers, wire.FAIRNESS_ID) or wire.DEFAULT_FAIRNESS_ID,
    )


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of these headers that says something; "" when none does."""
    for name in names:
        value = headers.get(name)
        if value:
            return value
    return ""


def _text(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The same as a person wrote it: header values are bytes, kept as latin-1; what is meant is UTF-8."""
    value = _first(headers, names)
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _forwarded(request: Request, parser: Parser, body: bytes) -> bytes:
    if request.target_model == request.model:
        return body
    return parser.rewrite(body, request.target_model)


_BRACKETED: Final = re.compile(r"^\[([^]]+)\]$")


def _place(entry: str) -> str:
    """A subset entry as the table keys it: an IPv6 address without a port has no brackets there."""
    return _BRACKETED.sub(r"\1", entry)
