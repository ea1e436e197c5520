"""One request's life: parse → produce → schedule → reserve → answer, then watch the response go by.

The director is synchronous: what it is asked, it answers. It owns the order of the steps; what each
step does lives in the rooms below.
"""

import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from endpoint_picker.core import attributes, wire
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates, EndpointTable
from endpoint_picker.core.errors import (
    REJECTED_NO_ENDPOINTS,
    BadRequest,
    Internal,
    Refusal,
    ServiceUnavailable,
)
from endpoint_picker.core.ledger import Ledger, Reservation
from endpoint_picker.core.request import Payload, Request, Usage
from endpoint_picker.observability import logs
from endpoint_picker.observability.metrics import Finished, Metrics, RequestLabels
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Learner, Parser, Producer, UsageReader
from endpoint_picker.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)

P = TypeVar("P", Producer, Learner)

SERVER_FAILURES: Final = frozenset({500, 502, 503, 504})
"""Answers that say that the replica, not the request, is in trouble."""
FAILURES_TO_EJECT: Final = 3
"""Failures in a row before a replica is left alone: one or two may be the request's own doing."""
EJECTION_SECONDS: Final = (5.0, 60.0)
"""First and longest time that a failing replica is left alone; it doubles in between."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a request before its body is read."""

    headers: Mapping[str, str]
    received_at: float
    subset: tuple[str, ...] | None = None
    """The only endpoints (`ip[:port]`) that may be picked; None: all."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the composition root wires together for the director."""

    table: EndpointTable
    ledger: Ledger
    parsers: Registry
    producers: Sequence[Producer]
    scheduler: Scheduler
    metrics: Metrics
    clock: Callable[[], float]
    charge: attributes.Key[attributes.UncachedTokens]
    """The fact that says what a request costs on each endpoint."""
    honour_subset: bool = True
    emit_scores: bool = False
    """Show the data plane the total of each scored endpoint."""


class Director:
    """Routes requests and keeps the books about them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._learners: list[Learner] = [each for each in parts.producers if isinstance(each, Learner)]
        self._complaints = logs.Sparse(log)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._parts.clock()

    def route(self, arrival: Arrival, body: bytes | None) -> "Exchange":
        """Pick the endpoint for a request. `body` is None where there is none, or none can be had yet.

        Raises a Refusal when no replica shall serve it; whatever else goes wrong inside is logged and
        raised as `Internal`.
        """
        started = self.now()
        request = _request(arrival)
        try:
            return self._route(request, arrival, body)
        except Refusal as refusal:
            self._parts.metrics.refused(_labels(request), refusal.code)
            raise
        except Exception as error:
            log.exception("request %s could not be routed", request.id)
            self._parts.metrics.refused(_labels(request), Internal.__name__)
            raise Internal(f"{type(error).__name__} while routing the request") from error
        finally:
            self._parts.metrics.request_processed(self.now() - started)

    def refuse(self, refusal: Refusal, headers: Mapping[str, str]) -> None:
        """Count a request that was refused before it could be routed."""
        request = _request(Arrival(headers, 0.0))
        self._parts.metrics.refused(_labels(request), refusal.code)

    def unrouted(self) -> "Exchange":
        """An exchange whose request was never seen: its response is watched all the same."""
        request = _request(Arrival({}, self.now()))
        try:
            parser = self._parts.parsers.resolve(request.path)
        except Refusal:
            parser = None
        return Exchange(self._parts, request, None, parser, None)

    def learn(self, exchange: "Exchange", body: bytes) -> bytes:
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
            self._produce(request, Candidates(self._parts.table, self._parts.table.live, self.now()))
            self._learn(request, decision)
        return _forwarded(request, parser, body)

    def served(self, exchange: "Exchange", host_port: str) -> None:
        """The data plane says which endpoint serves the request: perhaps not the first choice."""
        row = exchange.move(host_port)
        if row is not None:
            for learner in self._learners:
                self._guarded(learner, "PreRequest", lambda each: each.learn_at(exchange.request, row))

    def _route(self, request: Request, arrival: Arrival, body: bytes | None) -> "Exchange":
        parser = None
        if body is not None:
            parser = self._parts.parsers.resolve(request.path)
            self._read(request, parser, body)
        self._parts.metrics.received(_labels(request), request.size)
        candidates = self._candidates(arrival.subset)
        self._produce(request, candidates)
        decision = self._parts.scheduler.schedule(request, candidates)
        exchange = Exchange(self._parts, request, decision, parser, self._reserve(request, decision))
        self._learn(request, decision)
        if parser is not None and body is not None:
            exchange.body = _forwarded(request, parser, body)
            request.size = len(exchange.body)
        return exchange

    def _read(self, request: Request, parser: Parser, body: bytes) -> None:
        request.payload = parser.parse(request.path, body)
        request.size = len(body)
        if request.payload.model is None:
            return
        request.target_model = _either(request.headers, wire.MODEL_REWRITE) or request.model
        if not request.target_model:
            raise BadRequest("model not found in request body")

    def _candidates(self, subset: tuple[str, ...] | None) -> Candidates:
        """Everybody in the pool (or in the subset), without those that only fail, if others are left."""
        table, now = self._parts.table, self.now()
        candidates = table.candidates(now)
        if subset is not None and self._parts.honour_subset:
            rows = sorted({row for entry in subset for row in table.rows_at(_place(entry))})
            candidates = Candidates(table, np.array(rows, np.int64), now)
        healthy = table.ejected_until[candidates.rows] <= now
        if healthy.any():
            candidates = candidates.where(healthy)
        if not len(candidates):
            raise ServiceUnavailable(
                "failed to find endpoint candidates for serving the request", reason=REJECTED_NO_ENDPOINTS
            )
        return candidates

    def _produce(self, request: Request, candidates: Candidates) -> None:
        for producer in self._parts.producers:
            self._guarded(producer, "DataProducer", lambda each: each.produce(request, candidates))

    def _learn(self, request: Request, decision: Decision) -> None:
        for learner in self._learners:
            self._guarded(learner, "PreRequest", lambda each: each.learn(request, decision))

    def _guarded(self, producer: P, point: str, call: Callable[[P], None]) -> None:
        """A producer that fails leaves its fact out; the request goes on."""
        started = self.now()
        name = getattr(producer, "name", type(producer).__name__)
        plugin_type = getattr(producer, "type", type(producer).__name__)
        try:
            call(producer)
        except Exception:
            self._complaints.exception(name, "producer %s failed in %s; the request goes on", name, point)
        self._parts.metrics.plugin(point, plugin_type, name, self.now() - started)

    def _reserve(self, request: Request, decision: Decision) -> Reservation:
        cost = request.attributes.read(self._parts.charge)
        return self._parts.ledger.reserve(
            decision.row,
            prefill_tokens=int(cost.prompt[decision.row]) if cost else 0,
            output_tokens=cost.output if cost else 0,
        )


class Exchange:
    """One routed request and its response, until either ends."""

    def __init__(
        self,
        parts: Parts,
        request: Request,
        decision: Decision | None,
        parser: Parser | None,
        reservation: Reservation | None,
    ) -> None:
        self.request = request
        self.decision = decision
        self.parser = parser
        self.body = b""
        """The bytes to forward: the client's own unless the model name changed."""
        self.streaming = request.payload.stream
        self.media_type = ""
        """Of the response: in lower case, without parameters."""
        self._parts = parts
        self._reservation = reservation
        self._usage: UsageReader | None = None
        self._first_token: float | None = None
        self._last_chunk = 0.0
        self._response_bytes = 0
        self._busy = 0.0
        self._open = True
        self._labels = _labels(request)
        self._book(1)

    def response_headers(self, headers: Mapping[str, str]) -> None:
        """The replica (or Envoy in its place) answers."""
        status = _status(headers)
        self.media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self.streaming |= "text/event-stream" in self.media_type
        if status >= 500:
            self._parts.metrics.refused(self._labels, "ModelServerError")
        self._judge(status)
        if status < 400 and self.parser is not None:
            self._usage = self.parser.usage(streaming=self.streaming)

    def response_chunk(self, data: bytes) -> None:
        """A part of the response body, as the replica sent it."""
        if not data:
            return
        now = self._parts.clock()
        if self._first_token is None:
            self._first_token = now
            self.prefilled()
        elif self.streaming:
            self._parts.metrics.token_gap(self._labels, now - self._last_chunk)
        self._last_chunk = now
        self._response_bytes += len(data)
        if self._usage is not None:
            self._usage.feed(data)
        self._busy += self._parts.clock() - now

    def prefilled(self) -> None:
        """The replica has computed the prompt."""
        if self._reservation is not None:
            self._reservation.first_token()

    def scores(self) -> Mapping[str, float] | None:
        """Total of each endpoint that the primary profile scored, where they are to be shown."""
        if self.decision is None or not self._parts.emit_scores:
            return None
        scored = zip(self.decision.primary.scored_rows, self.decision.primary.totals, strict=True)
        return {self._parts.table[int(row)].host_port: float(total) for row, total in scored}

    def move(self, host_port: str) -> int | None:
        """Let the books follow the request to the endpoint that serves it; its row, where it is another."""
        rows = self._parts.table.rows_at(host_port)
        if not rows or self._reservation is None or self._reservation.row in rows:
            return None
        self._book_in_flight(-1)
        self._reservation.move(rows[0])
        self._book_in_flight(1)
        return rows[0]

    def end(self, *, complete: bool) -> None:
        """The exchange is over: with the whole response, or broken off. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        self._book(-1)
        if self._reservation is not None:
            self._reservation.release()
        if complete:
            self._parts.metrics.response_processed(self._busy)
            self._parts.metrics.finished(self._labels, self._outcome())

    def _outcome(self) -> Finished:
        start = self.request.received_at
        return Finished(
            seconds=self._parts.clock() - start,
            response_bytes=self._response_bytes,
            usage=self._usage.finish() if self._usage is not None else Usage(),
            streaming=self.streaming,
            first_token_seconds=None if self._first_token is None else self._first_token - start,
        )

    def _judge(self, status: int) -> None:
        """Count failures in a row, and leave a replica alone for a while that only fails."""
        if self._reservation is None or not self._reservation.valid:
            return
        table, row = self._parts.table, self._reservation.row
        if status not in SERVER_FAILURES:
            table.failures[row] = 0
            return
        table.failures[row] += 1
        excess = int(table.failures[row]) - FAILURES_TO_EJECT
        if excess >= 0:
            first, longest = EJECTION_SECONDS
            table.ejected_until[row] = self._parts.clock() + min(longest, first * 2.0 ** min(excess, 8))

    def _book(self, sign: int) -> None:
        if self.decision is not None:
            self._parts.metrics.running(self._labels, sign)
            self._book_in_flight(sign)

    def _book_in_flight(self, sign: int) -> None:
        if self._reservation is not None:
            self._parts.metrics.in_flight(
                self._reservation.endpoint,
                self._parts.charge.producer,
                self._labels,
                sign,
                sign * self._reservation.tokens,
            )


def _request(arrival: Arrival) -> Request:
    headers = arrival.headers
    return Request(
        id=headers.get(wire.REQUEST_ID) or str(uuid.uuid4()),
        headers=headers,
        path=next((headers[name] for name in wire.PATHS if headers.get(name)), wire.DEFAULT_PATH),
        received_at=arrival.received_at,
        payload=Payload(),
        objective=_either(headers, wire.OBJECTIVE),
        fairness_id=_either(headers, wire.FAIRNESS_ID) or wire.DEFAULT_FAIRNESS_ID,
    )


def _status(headers: Mapping[str, str]) -> int:
    text = headers.get(":status", "")
    return int(text) if len(text) == 3 and text.isdecimal() else 200


def _either(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of these headers that says something; "" when none does.

    Header values are bytes, kept as latin-1; what people write there is UTF-8.
    """
    value = next((headers[name] for name in names if headers.get(name)), "")
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _labels(request: Request) -> RequestLabels:
    return RequestLabels(request.model, request.target_model, request.fairness_id, request.priority)


def _forwarded(request: Request, parser: Parser, body: bytes) -> bytes:
    if request.target_model == request.model:
        return body
    return parser.rewrite(body, request.target_model)


_BRACKETED: Final = re.compile(r"^\[([^]]+)\]$")


def _place(entry: str) -> str:
    """A subset entry as the table keys it: an IPv6 address without a port has no brackets there."""
    return _BRACKETED.sub(r"\1", entry)
