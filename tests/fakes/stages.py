"""Pools by role, and profiles of stages over them."""

from collections.abc import Mapping, Sequence
from typing import Any

from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Candidates, EndpointTable, Gauges
from endpoint_picker.core.errors import ResourceExhausted
from endpoint_picker.core.request import Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Decider, Plugin, Profile, Wiring
from endpoint_picker.scheduling.disagg.handlers import Staged
from endpoint_picker.scheduling.filters.roles import Decode, Encode, Prefill
from endpoint_picker.scheduling.filters.utilization import Utilization
from endpoint_picker.scheduling.pickers import MaxScore, Most
from endpoint_picker.scheduling.profile import Keeping, Picking, Scoring, WeightedProfile
from endpoint_picker.scheduling.scorers.load import Queue
from endpoint_picker.testing import candidates_of, request_with, table_of, wiring_of
from tests.fakes.plugins import configured

ROLES: Mapping[str, type[Plugin]] = {"decode": Decode, "prefill": Prefill, "encode": Encode}


class Decides(Plugin):
    """`decides`: says what it is told to say, and keeps whom it was asked about."""

    type = "decides"

    def __init__(self, answer: Any, wiring: Wiring) -> None:
        super().__init__("d", None, wiring)
        self.answer = answer
        self.asked: list[int | None] = []

    def decide(self, request: Request, row: int | None) -> Any:
        self.asked.append(row)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Fixed:
    """A profile that always picks these rows, or finds nobody; keeps the facts that it saw."""

    def __init__(self, name: str, *rows: int) -> None:
        self.name = name
        self.rows = rows
        self.seen: list[Request] = []

    def run(self, request: Request, candidates: Candidates) -> ProfileResult:
        self.seen.append(request)
        if not self.rows:
            raise ResourceExhausted("nobody")
        table = candidates.table
        endpoints = tuple(table[row] for row in self.rows)
        return ProfileResult(
            self.name, self.rows, endpoints, candidates.rows, table.kv_usage[candidates.rows]
        )


class Pool:
    """Endpoints with a role and a queue each, and a profile for each stage: its role, the shortest queue."""

    def __init__(self, *pods: tuple[str, float], most: int = 1, room: float = 100.0) -> None:
        labels = [{"llm-d.ai/role": role} if role else {} for role, _ in pods]
        self.table: EndpointTable = table_of([Gauges(waiting=waiting) for _, waiting in pods], labels)
        self.metrics = Metrics()
        self.wiring = wiring_of(self.table, metrics=self.metrics)
        self.profiles: dict[str, Profile] = {stage: self._profile(stage, most, room) for stage in ROLES}

    def _profile(self, stage: str, most: int, room: float) -> Profile:
        role = configured(ROLES[stage], self.table)
        conditions = {"conditions": [{"metric": "waiting-queue", "maxValue": room}]}
        full = configured(Utilization, self.table, conditions)
        picker = MaxScore("p", Most(max_num_of_endpoints=most), self.wiring)
        return WeightedProfile(
            stage,
            self.wiring,
            filters=[Keeping("r", role.type, role), Keeping("u", full.type, full)],  # type: ignore[arg-type]
            scorers=[Scoring("q", "queue-scorer", Queue("q", None, self.wiring))],
            picker=Picking("p", "max-score-picker", picker),
        )

    def handler(self, kind: type[Staged], deciders: Mapping[str, Decider], **parameters: Any) -> Staged:
        """A handler, named h, with its deciders."""
        made = configured(kind, self.table, parameters, name="h")
        handler = kind("h", made.parameters, self.wiring)  # type: ignore[call-arg]
        handler.connect(deciders)
        return handler

    def says(self, answer: Any) -> Decides:
        return Decides(answer, self.wiring)

    def choose(
        self, handler: Staged, *, request: Request | None = None, rows: Sequence[int] | None = None
    ) -> Decision:
        asked = request or request_with(self.table)
        return handler.choose(asked, candidates_of(self.table, rows), self.profiles)

    def counted(self, name: str, **labels: str) -> float:
        """A counter of `llm_d_epp_…`."""
        return self.metrics.registry.get_sample_value(f"llm_d_epp_{name}", labels) or 0.0
