"""The endpoint table: one numpy column per fact, one row per endpoint.

The data layer writes gauges, the ledger writes what is in flight, scheduling reads. A row is reused only
under a new generation, so that whoever remembers a row can tell that it now means another endpoint.
All of it lives on one thread (the event loop); nothing here locks or waits.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isnan
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from endpoint_picker.core import adapters, wire
from endpoint_picker.core.adapters import Adapters
from endpoint_picker.core.objectives import Objectives
from endpoint_picker.core.records import record

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float64]

SMOOTHED: Final = 3.0
"""Seconds over which what readings show of other pickers' requests is averaged."""

_COLUMNS: dict[str, tuple[Any, Any]] = {
    "waiting": (np.float64, np.nan),
    "running": (np.float64, np.nan),
    "kv_usage": (np.float64, np.nan),
    "max_lora": (np.int64, 0),
    "block_size": (np.int64, 0),
    "num_blocks": (np.int64, 0),
    "updated_at": (np.float64, -np.inf),
    "readings": (np.int64, 0),
    "unread": (np.float64, 0.0),
    "surplus": (np.float64, 0.0),
    "room": (np.float64, np.inf),
    "failures": (np.int64, 0),
    "ejected_until": (np.float64, -np.inf),
}
"""Column → (type, value of a fresh row). NaN and 0 in the scraped columns mean "not known"."""
LOADS: Final = (
    "in_flight",
    "in_flight_tokens",
    "prefill_tokens",
    "pending",
    "prompt_tokens",
    "others",
    "others_waiting",
)
"""Columns that are the rows of one array of floats, so that whoever adds them up reads them at once."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica (one rank of it) that can be picked."""

    name: str
    address: str
    """IP address as text, IPv6 without brackets."""
    port: int
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    pod: str = ""
    """Name of the pod whose rank it is; its own name where it is no rank of anything."""
    rank: int | None = None
    """Its place among the data-parallel ranks of the pod, from 0; None: it is no rank."""
    start_rank: int = 0
    """What the engines of the whole deployment call the pod's rank 0."""
    split: bool = False
    """Whether other ranks are behind the same port: then a request tells which of them it is for."""
    id: str = field(init=False, repr=False, compare=False)
    """`namespace/name`."""
    host_port: str = field(init=False, repr=False, compare=False)
    """`ip:port` as it goes on the wire, IPv6 in brackets."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pod", self.pod or self.name)
        object.__setattr__(self, "id", f"{self.namespace}/{self.name}")
        object.__setattr__(self, "host_port", join_host_port(self.address, self.port))

    @property
    def global_rank(self) -> int | None:
        """What the engines call the rank: in the label of its series, and in what it adds to base ports."""
        return None if self.rank is None else self.start_rank + self.rank

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Header fields that a request must carry to reach it, and not another rank at its address.

        Behind one port the ranks are counted from 0, whatever the deployment calls the first of them.
        """
        return ((wire.DATA_PARALLEL_RANK, str(self.rank)),) if self.split else ()


def join_host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class Gauges:
    """One reading of a replica's metrics page; None where the page does not have the family.

    A value that cannot be true (NaN, negative, infinite) is passed as NaN: "not known from now on".
    """

    waiting: float | None = None
    running: float | None = None
    kv_usage: float | None = None
    block_size: int | None = None
    num_blocks: int | None = None
    max_lora: int | None = None
    lora_running: frozenset[str] | None = None
    lora_waiting: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, or an adapter of one, that a replica serves."""

    name: str
    parent: str = ""
    """The model that it is an adapter of."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a new list of endpoints changed: the endpoints that came and the ones that went."""

    added: tuple[Endpoint, ...]
    removed: tuple[Endpoint, ...]


class EndpointTable:
    """All endpoints of the pool and what is known of each."""

    generation: Rows
    """Counts the endpoints that a row has held; even while the row is free, odd while it is in use."""
    waiting: Vector
    """Requests queued in the engine, scraped; NaN: not known."""
    running: Vector
    """Requests running in the engine, scraped; NaN: not known."""
    kv_usage: Vector
    """Used share of the KV cache in 0..1, scraped; NaN: not known."""
    max_lora: Rows
    """How many adapters the engine can run at once; 0: not known."""
    block_size: Rows
    """Tokens a KV block, as the engine tells; 0: not known."""
    num_blocks: Rows
    """KV blocks of the engine; 0: not known."""
    room: Vector
    """Tokens that its KV cache has room for; infinite: not known."""
    updated_at: Vector
    """When the last reading came (seconds, monotonic clock); -inf: never."""
    readings: Rows
    """How many readings have come."""
    in_flight: Vector
    """Requests that we sent there and have not seen finished."""
    unread: Vector
    """Those of them that were sent since the last reading and have no token yet: no gauge shows them."""
    in_flight_tokens: Vector
    """Tokens charged for them (see `ledger`)."""
    prefill_tokens: Vector
    """The part of those tokens whose first output token has not been seen."""
    pending: Vector
    """Requests whose prompt we have it compute and whose first output token has not been seen."""
    prompt_tokens: Vector
    """Tokens of all prompts in flight, cached or not: what they take of its KV cache."""
    others: Vector
    """Requests that its readings of late show on average beyond our own: those of other pickers."""
    others_waiting: Vector
    """Those of them that its last reading showed in the queue."""
    loads: Vector
    """All of LOADS, in that order, shape (7, capacity)."""
    surplus: Vector
    """Requests beyond our own, below 0 too: a reading misses what we sent during the engine's last step."""
    failures: Rows
    """Server errors in a row."""
    ejected_until: Vector
    """Not to be picked before this time while others can be (seconds, monotonic clock)."""

    def __init__(self, *, stale_after: float = 2.0, capacity: int = 16) -> None:
        self.stale_after = stale_after
        """Seconds after which a reading counts no longer."""
        self.version = 0
        """Grows with every change of membership, labels or ranks: caches of masks are keyed by it."""
        self.objectives = Objectives()
        """What requests to this pool may be for."""
        self.capacity = capacity
        self.generation = np.zeros(capacity, np.int64)
        for name, (dtype, empty) in _COLUMNS.items():
            setattr(self, name, np.full(capacity, empty, dtype))
        self._lay(np.zeros((len(LOADS), capacity)))
        self.lora_running = Adapters(capacity)
        self.lora_waiting = Adapters(capacity)
        self.models: list[tuple[ServedModel, ...]] = [()] * capacity
        """What each row's replica says that it serves; empty: not known."""
        self._scalars: dict[tuple[str, str], Vector] = {}
        """(attribute, producer) → its values."""
        self._endpoints: list[Endpoint | None] = [None] * capacity
        self._rows: dict[str, int] = {}
        self._by_address: dict[str, list[int]] = {}
        self._live: Rows = np.empty(0, np.int64)
        self._oldest = -np.inf
        """No reading is older. A reading makes way for newer ones only, so while this one counts all do, and
        nobody has to look."""

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Endpoint]:
        return (endpoint for endpoint in self._endpoints if endpoint is not None)

    def __getitem__(self, row: int) -> Endpoint:
        endpoint = self._endpoints[row]
        if endpoint is None:
            raise KeyError(f"row {row} holds no endpoint")
        return endpoint

    @property
    def live(self) -> Rows:
        """Rows in use, ascending."""
        return self._live

    def row_of(self, endpoint_id: str) -> int | None:
        """Row of the endpoint `namespace/name`."""
        return self._rows.get(endpoint_id)

    def rows_at(self, host_port: str) -> Sequence[int]:
        """Rows of the endpoints at `ip:port` (IPv6 in brackets) or, without a port, at that IP."""
        return self._by_address.get(host_port, ())

    def replace(self, endpoints: Iterable[Endpoint]) -> Change:
        """Make these the members of the pool.

        An endpoint that keeps its id, address and port keeps its row and all that is known of it; one
        that moved is another replica and starts afresh. One that is as it was stays the same object.
        """
        wanted = {endpoint.id: endpoint for endpoint in endpoints}
        removed = [old for old in self if not _same_place(old, wanted.get(old.id))]
        for old in removed:
            self._remove(old)
        added = [new for new in wanted.values() if new.id not in self._rows]
        for new in added:
            self._add(new)
        altered = False
        for new in wanted.values():
            row = self._rows[new.id]
            if self[row] != new:
                self._endpoints[row] = new
                altered = True
        if added or removed or altered:
            self._changed()
        return Change(tuple(added), tuple(removed))

    def observe(self, row: int, gauges: Gauges, now: float) -> None:
        """Take a reading. A family that the page lacks keeps its old value."""
        for name in ("waiting", "running", "kv_usage", "block_size", "num_blocks", "max_lora"):
            value = getattr(gauges, name)
            if value is not None:
                getattr(self, name)[row] = value
        if gauges.lora_running is not None:
            self.lora_running[row] = gauges.lora_running
        if gauges.lora_waiting is not None:
            self.lora_waiting[row] = gauges.lora_waiting
        blocks = int(self.num_blocks[row])
        if blocks > 0:
            self.room[row] = blocks * int(self.block_size[row]) or np.inf
        self._note_others(row, (gauges.waiting or 0.0) + (gauges.running or 0.0), now)
        self.updated_at[row] = now
        self.readings[row] += 1
        self.unread[row] = 0

    def _note_others(self, row: int, seen: float, now: float) -> None:
        """Of all requests there, those that are not ours.

        All pickers see the same reading: if each believed the last one, all would run to whoever looked best.
        """
        if isnan(seen):
            return
        kept = exp(min(0.0, float(self.updated_at[row]) - now) / SMOOTHED)
        self.surplus[row] += (1.0 - kept) * (seen - self.in_flight[row] - self.surplus[row])
        self.others[row] = others = max(0.0, float(self.surplus[row]))
        waiting = float(self.waiting[row]) - float(self.pending[row])
        self.others_waiting[row] = min(others, waiting) if waiting > 0.0 else 0.0

    def scalar(self, attribute: str, producer: str) -> Vector | None:
        """A further fact about endpoints, shape (capacity,), NaN where not known; None: nobody wrote it.

        An empty `producer` means any: the first that wrote the attribute.
        """
        if producer:
            return self._scalars.get((attribute, producer))
        return next((values for (name, _), values in self._scalars.items() if name == attribute), None)

    def set_scalar(self, row: int, attribute: str, producer: str, value: float) -> None:
        """Write such a fact; NaN: not known from now on."""
        values = self._scalars.get((attribute, producer))
        if values is None:
            values = self._scalars[attribute, producer] = np.full(self.capacity, np.nan)
        values[row] = value

    def fresh(self, now: float) -> Mask:
        """Which rows in use have a reading that still counts, shape (capacity,)."""
        return self.updated_at > now - self.stale_after

    def stale(self, rows: Rows, now: float) -> Mask | None:
        """Which of these rows in use have no reading that still counts, shape (n,); None: all have one."""
        limit = now - self.stale_after
        if self._oldest > limit:
            return None
        read = self.updated_at[rows]
        oldest = read.item(read.argmin()) if len(read) else np.inf
        if rows is self._live:
            self._oldest = oldest
        return read <= limit if oldest <= limit else None

    def candidates(self, now: float) -> "Candidates":
        """Every endpoint of the pool."""
        return Candidates(self, self._live, now)

    def _add(self, endpoint: Endpoint) -> None:
        free = np.flatnonzero(self.generation % 2 == 0)
        if not free.size:
            self._grow()
            free = np.flatnonzero(self.generation % 2 == 0)
        row = int(free[0])
        self.generation[row] += 1
        for name, (_, empty) in _COLUMNS.items():
            getattr(self, name)[row] = empty
        self.loads[:, row] = 0
        for values in self._scalars.values():
            values[row] = np.nan
        self.lora_running[row] = self.lora_waiting[row] = adapters.NONE
        self.models[row] = ()
        self._endpoints[row] = endpoint
        self._rows[endpoint.id] = row

    def _remove(self, endpoint: Endpoint) -> None:
        row = self._rows.pop(endpoint.id)
        self.generation[row] += 1
        self._endpoints[row] = None

    def _grow(self) -> None:
        extra = self.capacity
        self.capacity += extra
        self.generation = np.concatenate([self.generation, np.zeros(extra, np.int64)])
        for name, (dtype, empty) in _COLUMNS.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.full(extra, empty, dtype)]))
        self._lay(np.pad(self.loads, ((0, 0), (0, extra))))
        for key, values in self._scalars.items():
            self._scalars[key] = np.concatenate([values, np.full(extra, np.nan)])
        self.lora_running.grow(extra)
        self.lora_waiting.grow(extra)
        self.models += [()] * extra
        self._endpoints += [None] * extra

    def _lay(self, loads: Vector) -> None:
        self.loads = loads
        for name, column in zip(LOADS, loads, strict=True):
            setattr(self, name, column)

    def _changed(self) -> None:
        self.version += 1
        self._oldest = -np.inf
        self._live = np.flatnonzero(self.generation % 2 == 1)
        self._by_address = {}
        for row in self._live.tolist():
            endpoint = self[row]
            for place in (endpoint.host_port, endpoint.address):
                self._by_address.setdefault(place, []).append(row)


def _same_place(old: Endpoint, new: Endpoint | None) -> bool:
    return new is not None and (old.address, old.port) == (new.address, new.port)


class Candidates:
    """The endpoints that may still be picked for one request: rows of the table, in row order."""

    __slots__ = ("_looked", "_seen", "now", "rows", "table")

    def __init__(self, table: EndpointTable, rows: Rows, now: float) -> None:
        self.table = table
        self.rows = rows
        """Shape (n,)."""
        self.now = now
        """Time of the decision (seconds, monotonic clock)."""
        self._looked = False
        self._seen: _Sight | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Endpoint]:
        return (self.table[row] for row in self.rows.tolist())

    def holds(self, row: int) -> bool:
        """Whether this row is among them."""
        table, rows = self.table, self.rows
        if rows is table._live:  # nobody has been left out: no need to search
            return 0 <= row < table.capacity and table._endpoints[row] is not None
        place = bisect_left(rows, row)
        return place < len(rows) and rows.item(place) == row

    def where(self, mask: Mask) -> "Candidates":
        """Only those for which the mask, shape (n,), is true."""
        # A False is found in a fifth of the time that `all` takes.
        everybody = len(mask) and mask[mask.argmin()]
        return self if everybody else Candidates(self.table, self.rows[mask], self.now)

    def waiting(self) -> Vector:
        """Requests queued in each engine, shape (n,); those that its last reading missed are counted in."""
        table, rows = self.table, self.rows
        return self._gauge(table.waiting[rows] + table.unread[rows])

    def running(self) -> Vector:
        """Requests running in each engine, shape (n,); those that its last reading missed are counted in."""
        table, rows = self.table, self.rows
        return self._gauge(table.running[rows] + table.unread[rows])

    def kv_usage(self) -> Vector:
        """Used share of each KV cache in 0..1, shape (n,)."""
        return self._gauge(self.table.kv_usage[self.rows], at_least=_HALF)

    def scalar(self, attribute: str, producer: str) -> Vector:
        """A further fact about each, shape (n,); NaN where not known."""
        values = self.table.scalar(attribute, producer)
        return np.full(len(self.rows), np.nan) if values is None else values[self.rows]

    def load(self, attribute: str, producer: str, *, at_least: float | None = None) -> Vector:
        """Such a fact as a load, shape (n,); where it is not known, an assumption as for a gauge.

        It is as old as whoever wrote it lets it become: its source may be another than that of the gauges.
        """
        return self._gauge(self.scalar(attribute, producer), at_least=at_least, dated=False)

    def _gauge(self, values: Vector, *, at_least: float | None = None, dated: bool = True) -> Vector:
        """The scraped values; where a reading is missing or stale, an assumption in its place.

        A replica that nobody can see is neither idle nor saturated: it counts as the average of those
        that are seen, and as no better than what our own ledger knows of it (or `at_least`). Only where
        that ledger has less there than with those that are seen it counts as the best of them, for an
        average is never picked, and it would be left out for ever while the others queue. With no
        telemetry at all the ledger alone decides.
        """
        sight = self._sight() if dated else None
        known = values if sight is None else values[sight.seen]
        if _has_nan(known):
            unknown = np.isnan(values)
            if sight is not None:
                unknown[sight.unseen] = True
            sight = _sight_of(unknown)
            known = values[sight.seen]
        if sight is None:
            return values
        own: Vector = self.table.in_flight[self.rows].astype(np.float64)
        # One more than we have in flight there: what nobody can see is never better than idle.
        ours = own[sight.unseen] + 1.0
        if not len(known):
            values[sight.unseen] = ours if at_least is None else at_least
            return values
        average = _mean(known)
        values[sight.unseen] = np.maximum(ours, average) if at_least is None else max(at_least, average)
        spared = sight.unseen[ours < _mean(own[sight.seen])]
        if len(spared):
            values[spared] = known[known.argmin()]
        return values

    def _sight(self) -> "_Sight | None":
        """Whose reading counts; None where all do."""
        if not self._looked:
            self._looked = True
            stale = self.table.stale(self.rows, self.now)
            self._seen = None if stale is None else _sight_of(stale)
        return self._seen


@record
class _Sight:
    """Places of candidates whose gauge is known, and of the others."""

    seen: Rows
    unseen: Rows


def _sight_of(unknown: Mask) -> _Sight:
    return _Sight((~unknown).nonzero()[0], unknown.nonzero()[0])


_HALF: Final = 0.5
"""A cache that nobody can see is taken to be half full."""


def _has_nan(values: Vector) -> bool:
    # The maximum is NaN if one of them is; its place is found in a fifth of the time of `isnan().any()`.
    return len(values) > 0 and isnan(values[values.argmax()])


def _mean(values: Vector) -> float:
    return float(np.add.reduce(values)) / len(values)
