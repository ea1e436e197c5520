"""Cached prefixes where each endpoint stands for a cluster: what a cluster holds is guessed as for a replica.

A type of its own lets one configuration name both. Endpoints that report no KV blocks, as the entrances of
clusters do not, take the configured size of the LRU.
"""

from endpoint_picker.producers.prefix_approx import ApproximatePrefix


class MulticlusterPrefix(ApproximatePrefix):
    """Leading blocks that each cluster holds, guessed (`multicluster-approx-prefix-cache-producer`)."""

    type = "multicluster-approx-prefix-cache-producer"
    stability = "alpha"
