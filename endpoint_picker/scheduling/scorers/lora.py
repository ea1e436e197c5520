"""The scorer that prefers the endpoints which have the request's adapter loaded, or room for it."""

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin


class LoraAffinity(Plugin):
    """`lora-affinity-scorer`: adapter running 1, room for another 0.8, waiting for it 0.6, else 0.

    The adapter is the request's target model.
    """

    type = "lora-affinity-scorer"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        adapter, table, rows = request.target_model, candidates.table, candidates.rows
        running, waiting = table.lora_running, table.lora_waiting
        room = running.counts[rows] + waiting.counts[rows] < table.max_lora[rows]
        scores: Vector = np.where(room, 0.8, np.where(waiting.have(adapter)[rows], 0.6, 0.0))
        scores[running.have(adapter)[rows]] = 1.0
        return scores
