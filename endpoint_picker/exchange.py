"""One routed request and its response: what passes by is watched and written to the books.

The books are the ledger, the metrics and each endpoint's record of failures. Whatever way an exchange ends,
it settles them once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import msgspec

from endpoint_picker import hooks
from endpoint_picker.charges import Charges
from endpoint_picker.core import ejection, ranks
from endpoint_picker.core.attributes import Key, UncachedTokens
from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.core.request import Request, Usage
from endpoint_picker.hooks import Guard, Step
from endpoint_picker.observability.logs import Sparse
from endpoint_picker.observability.metrics import Finished, Metrics, RequestLabels
from endpoint_picker.plugin import Parser, Plugin, UsageReader
from endpoint_picker.prefill_order import PrefillOrder

log = logging.getLogger(__name__)

SERVER_FAILURES: Final = frozenset({500, 502, 503, 504})
"""Answers that say that the replica, not the request, is in trouble."""

NO_FIELDS: Final[dict[str, str]] = {}
NO_METADATA: Final[dict[str, dict[str, Any]]] = {}


@dataclass(frozen=True, slots=True)
class Books:
    """Where exchanges are written down."""

    table: EndpointTable
    ledger: Ledger
    metrics: Metrics
    clock: Callable[[], float]
    """Monotonic seconds."""
    charge: Key[UncachedTokens]
    """The fact that says what a request costs on each endpoint."""
    emit_scores: bool = False
    """Show the data plane the total of each scored endpoint."""
    complaints: Sparse = field(default_factory=lambda: Sparse(log))
    """Where broken plugins are told of, at most once in a while."""
    plugins: Sequence[Plugin] = ()
    """All instances: those that say something about responses are asked, and told."""
    guard: Guard = field(init=False)
    responders: Sequence[Step] = field(init=False)
    watchers: Sequence[Step] = field(init=False)
    auditors: Sequence[Step] = field(init=False)
    reporters: Sequence[Step] = field(init=False)

    def __post_init__(self) -> None:
        guard = Guard(self.metrics, self.complaints, self.clock)
        object.__setattr__(self, "guard", guard)
        object.__setattr__(self, "responders", guard.steps(hooks.RESPONDER, self.plugins))
        object.__setattr__(self, "watchers", guard.steps(hooks.WATCHER, self.plugins))
        object.__setattr__(self, "auditors", guard.steps(hooks.AUDITOR, self.plugins))
        object.__setattr__(self, "reporters", guard.steps(hooks.REPORTER, self.plugins))


class Exchange:
    """One routed request and its response, until either ends."""

    def __init__(
        self,
        books: Books,
        request: Request,
        decision: Decision | None,
        parser: Parser | None,
        body: bytes,
        order: PrefillOrder | None = None,
    ) -> None:
        self.request = request
        self.decision = decision
        self.parser = parser
        self.order = order
        """What is to be done before the request goes on: `computed` or `not_computed` says that it is."""
        self._body = body
        self.streaming = request.payload.stream
        self.media_type = ""
        """Of the response: in lower case, without parameters."""
        self.metadata: dict[str, dict[str, Any]] = {}
        """What plugins tell the data plane, once the response has ended: namespace → key → value."""
        self._books = books
        self._usage: UsageReader | None = None
        self._first_token: float | None = None
        self._last_chunk = 0.0
        self._response_bytes = 0
        self._busy = 0.0
        self._open = True
        self._labels = labels_of(request)
        self.scores = self._scored(decision) if decision is not None and books.emit_scores else None
        """Total of each endpoint that the primary profile scored, where they are to be shown; some may have
        left the pool by then."""
        self._charges: Charges | None = None
        if decision is not None:
            cost = request.attributes.read(books.charge)
            self._charges = Charges(books.ledger, self._show, decision, cost)
            books.metrics.running(self._labels, 1)

    def take_body(self) -> bytes:
        """The bytes to forward, once: the client's own unless the model name changed.

        Whoever takes them has them alone; the exchange lasts as long as the response.
        """
        body, self._body = self._body, b""
        return body

    def prefill_moves(self, row: int) -> None:
        """Another endpoint than the first choice is to compute the prompt."""
        if self._open and self._charges is not None and self._charges.prefill is not None:
            self._charges.prefill.move(row)

    def computed(self, params: msgspec.Raw) -> None:
        """The prompt is computed, and this says where: the request may go on."""
        if self.order is not None and self._open:
            self._body = self.order.filled(params)
            self.request.size = len(self._body)
            self.order = None
            if self._charges is not None:
                self._tell_prefilled(self._charges)
                self._charges.computed()

    def not_computed(self) -> None:
        """Nobody has computed the prompt: who serves the request has to."""
        if self.order is not None and self._open and self._charges is not None:
            self.order = None
            self._charges.alone()

    def response_headers(self, headers: Mapping[str, str]) -> None:
        """The replica (or Envoy in its place) answers."""
        status = _status(headers)
        self.media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self.streaming |= "text/event-stream" in self.media_type
        if status >= 500:
            self._books.metrics.refused(self._labels, "ModelServerError")
        self._judge(status)
        if status < 400 and self.parser is not None:
            try:
                self._usage = self.parser.usage(streaming=self.streaming)
            except Exception:
                self._unreadable()

    def response_chunk(self, data: bytes) -> None:
        """A part of the response body, as the replica sent it."""
        if not data:
            return
        now = self._books.clock()
        if self._first_token is None:
            self._first_token = now
            self.prefilled()
        elif self.streaming:
            self._books.metrics.token_gap(self._labels, now - self._last_chunk)
        self._last_chunk = now
        self._response_bytes += len(data)
        if self._usage is not None:
            try:
                self._usage.feed(data)
            except Exception:
                self._unreadable()
        self._busy += self._books.clock() - now

    def fields(self) -> tuple[tuple[str, str], ...]:
        """What plugins want to tell the client in the header of the response."""
        if not self._books.responders or self.decision is None:
            return ()
        found: dict[str, str] = {}
        for step in self._books.responders:
            found |= self._books.guard.ask(step, hooks.fields, NO_FIELDS, self.request, self.decision)
        return tuple(found.items())

    def prefilled(self) -> None:
        """The replica has begun to answer."""
        if self._charges is not None:
            self._tell_prefilled(self._charges)
            self._charges.first_token()

    def move(self, host_port: str) -> int | None:
        """Let the books follow the request to the endpoint that serves it; its row, where it is another."""
        table, decision = self._books.table, self.decision
        if self._charges is None or decision is None or decision.port is not None:
            return None  # with a port it says where the endpoint's proxy is, not which endpoint
        charge = self._charges.decode
        row = ranks.serving(table, host_port, decision.endpoint)
        if row is None or charge.reservation.row in table.rows_at(host_port):
            return None
        charge.move(row)
        return row

    def end(self, *, complete: bool) -> None:
        """The exchange is over: with the whole response, or broken off. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        if self._charges is not None:
            self._charges.release()
            self._books.metrics.running(self._labels, -1)
        if complete:
            outcome = self._outcome()
            self._audit(outcome.usage)
            self._report(outcome.usage)
            self._books.metrics.response_processed(self._busy)
            self._books.metrics.finished(self._labels, outcome)

    def _scored(self, decision: Decision) -> dict[str, float]:
        found: dict[str, float] = {}
        for row, total in zip(decision.primary.scored_rows, decision.primary.totals, strict=True):
            place = self._books.table[int(row)].host_port  # of ranks behind one port the best counts
            found[place] = max(float(total), found.get(place, -inf))
        return found

    def _tell_prefilled(self, charges: Charges) -> None:
        if self._books.watchers:
            place = charges.computing
            if place is not None and place.valid:
                self._books.guard.run(self._books.watchers, self.request, place.row)

    def _audit(self, usage: Usage) -> None:
        books, decision = self._books, self.decision
        if not books.auditors or decision is None or self._charges is None:
            return
        served = self._charges.decode.reservation
        if served.valid:
            books.guard.run(books.auditors, self.request, decision, served.row, usage)

    def _report(self, usage: Usage) -> None:
        for step in self._books.reporters:
            told = self._books.guard.ask(step, hooks.metadata, NO_METADATA, self.request, usage)
            for namespace, keys in told.items():
                self.metadata.setdefault(namespace, {}).update(keys)

    def _outcome(self) -> Finished:
        start = self.request.received_at
        return Finished(
            seconds=self._books.clock() - start,
            response_bytes=self._response_bytes,
            usage=self._reported(),
            streaming=self.streaming,
            first_token_seconds=None if self._first_token is None else self._first_token - start,
        )

    def _reported(self) -> Usage:
        if self._usage is not None:
            try:
                return self._usage.finish()
            except Exception:
                self._unreadable()
        return Usage()

    def _unreadable(self) -> None:
        """A parser that fails on a response loses the usage, not the response."""
        self._usage = None
        self._books.guard.unread(self.parser, "the usage of request %s could not be read", self.request.id)

    def _judge(self, status: int) -> None:
        if self._charges is None:
            return
        served = self._charges.decode.reservation
        if served.valid:
            failed = status in SERVER_FAILURES
            ejection.judge(self._books.table, served.row, failed=failed, now=self._books.clock())

    def _show(self, endpoint: Endpoint, requests: int, tokens: int) -> None:
        books = self._books
        books.metrics.in_flight(endpoint, books.charge.producer, self._labels, requests, tokens)


def labels_of(request: Request) -> RequestLabels:
    """What its metrics are labelled with, as far as it is known yet."""
    return RequestLabels(request.model, request.target_model, request.fairness_id, request.priority)


def _status(headers: Mapping[str, str]) -> int:
    text = headers.get(":status", "")
    return int(text) if len(text) == 3 and text.isdecimal() else 200
