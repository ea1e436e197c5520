"""The scorer that prefers the endpoints which have the request's adapter loaded, or room for it."""

import numpy as np

from endpoint_picker.core.endpoints import Candidates, EndpointTable, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin


class LoraAffinity(Plugin):
    """`lora-affinity-scorer`: adapter running 1, room for another 0.8, waiting for it 0.6, else 0.

    The adapter is the request's target model.
    """

    type = "lora-affinity-scorer"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        adapter, table = request.target_model, candidates.table
        scores = [_affinity(table, row, adapter) for row in candidates.rows.tolist()]
        return np.array(scores, np.float64)


def _affinity(table: EndpointTable, row: int, adapter: str) -> float:
    running, waiting = table.lora_running[row], table.lora_waiting[row]
    if adapter in running:
        return 1.0
    if len(running) + len(waiting) < table.max_lora[row]:
        return 0.8
    return 0.6 if adapter in waiting else 0.0
