"""A whole picker short of its sockets: the real rooms around a table that the test fills by hand."""

from collections.abc import Sequence
from typing import Any

from endpoint_picker.admission.shedding import Shedding
from endpoint_picker.assemble import assemble
from endpoint_picker.config import load
from endpoint_picker.core.attributes import prefix_match
from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.core.request import Request
from endpoint_picker.director import Director, Parts
from endpoint_picker.exchange import Books
from endpoint_picker.extproc.gathered import Room
from endpoint_picker.extproc.stream import Stream
from endpoint_picker.inline_prefills import InlinePrefills
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Wiring


class Pool:
    """Replicas with these readings, and a director for them: `10.0.0.N:8000` (N from 1), or those given."""

    def __init__(
        self,
        waiting: Sequence[float],
        kv_usage: Sequence[float] = (),
        lora: Sequence[frozenset[str]] = (),
        *,
        config: str = "",
        experimental: bool = False,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        self.now = 1000.0
        """The clock; tests move it."""
        self.table = EndpointTable()
        usual = [Endpoint(f"pod{n + 1}", f"10.0.0.{n + 1}", 8000) for n in range(len(waiting))]
        self.table.replace(endpoints or usual)
        self.metrics = Metrics(clock=self._clock)
        self.metrics.watch(self.table)
        self._ledger = Ledger(self.table)
        self.prefills = InlinePrefills(self.table, self.metrics, self._clock)
        self._wiring = Wiring(self.table, self.metrics, clock=self._clock)
        self._assembly = assemble(load.load(config), self._wiring, allow_experimental=experimental)
        self.producers = self._assembly.producers
        self.observe(waiting, kv_usage or [0.0] * len(waiting), lora)
        self.rebuild()

    def rebuild(self, *, emit_scores: bool = False, **changes: Any) -> None:
        """A director with these of its parts changed."""
        plugins = changes.pop("plugins", tuple(self._assembly.instances.values()))
        books = Books(
            self.table,
            self._ledger,
            self.metrics,
            self._clock,
            self._assembly.charge,
            emit_scores,
            plugins=plugins,
        )
        parts: dict[str, Any] = {
            "books": books,
            "parsers": Registry(self._assembly.parsers),
            "producers": self._assembly.producers,
            "scheduler": self._assembly.scheduler,
            "match": self._assembly.match,
            "shedding": Shedding(self._assembly.detector),
            "plugins": plugins,
        }
        self.director = Director(Parts(**(parts | changes)))

    def observe(
        self, waiting: Sequence[float], kv_usage: Sequence[float], lora: Sequence[frozenset[str]] = ()
    ) -> None:
        """New readings of all replicas."""
        for row, (queue, usage) in enumerate(zip(waiting, kv_usage, strict=True)):
            running = lora[row] if lora else None
            gauges = Gauges(waiting=queue, running=queue, kv_usage=usage, lora_running=running, max_lora=2)
            self.table.observe(row, gauges, self.now)

    def stream(self, *, limit: int = 64 << 20) -> Stream:
        self.room = Room(body=limit, total=16 * limit)
        return Stream(self.director, self.room)

    def sample(self, name: str, **labels: str) -> float | None:
        """The sum of all samples of that name and with these labels; None where there is none."""
        found = [
            sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def cached_blocks(self, body: bytes, row: int) -> int:
        """Blocks of a completion's prompt that the picker thinks a replica holds."""
        request = Request(id="probe", headers={}, path="/v1/completions", received_at=self.now)
        request.payload = Registry(self._assembly.parsers).resolve(request.path).parse(request.path, body)
        request.target_model = request.model
        for producer in self._assembly.producers:
            producer.produce(request, self.table.candidates(self.now))
        match = request.attributes.read(prefix_match())
        return int(match.blocks[row]) if match is not None else 0

    @property
    def in_flight(self) -> int:
        return int(self.table.in_flight.sum())

    def in_flight_at(self, row: int) -> int:
        return int(self.table.in_flight[row])

    @property
    def prefill_tokens(self) -> int:
        return int(self.table.prefill_tokens.sum())

    @property
    def open(self) -> int:
        return self._ledger.open

    def _clock(self) -> float:
        return self.now
