"""Scorers of a pool whose endpoints are clusters: the load of a cluster is the mean over its replicas."""

from typing import Final

from endpoint_picker.core.endpoints import Candidates, Vector
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin
from endpoint_picker.scheduling.scorers.load import spread

QUEUE: Final = "llm-d.ai/multicluster-queue-size"
KV_USAGE: Final = "llm-d.ai/multicluster-kv-cache-utilization"
ANYBODY: Final = ""
"""Whoever wrote the attribute."""
UNSEEN_USAGE: Final = 0.5
"""A cluster whose caches nobody can see is taken to be no better than half full."""


class Queue(Plugin):
    """`multicluster-queue-scorer`: (longest - queue) / (longest - shortest) over the clusters' queues.

    A cluster that tells none counts as the average of the others, or as what the picker has in flight
    there: the field's reference gives it 0, as if it were full.
    """

    type = "multicluster-queue-scorer"
    stability = "alpha"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return spread(candidates.load(QUEUE, ANYBODY))


class KvUsage(Plugin):
    """`multicluster-kv-cache-utilization-scorer`: the free share of the clusters' KV caches.

    A cluster that tells none counts as the average of the others, and as no better than half full.
    """

    type = "multicluster-kv-cache-utilization-scorer"
    stability = "alpha"

    def score(self, request: Request, candidates: Candidates) -> Vector:
        return 1.0 - candidates.load(KV_USAGE, ANYBODY, at_least=UNSEEN_USAGE)
