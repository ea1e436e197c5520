"""How close two endpoints are: on one host, in one rack, in one zone, in one region.

What one stage of a request computes, another may have to fetch; the closer the two are, the sooner it is
there. Where an endpoint runs is told by its labels.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from endpoint_picker.core.attributes import Key
from endpoint_picker.core.endpoints import EndpointTable, Rows
from endpoint_picker.core.labels import ABSENT, ByVersion, numbered

LEVELS: Final = ("host", "rack", "zone", "region")
"""From the closest to the widest."""
APART: Final = len(LEVELS)
"""Distance of two endpoints that share no level."""
EXTRACTOR: Final = "topology-extractor"
"""Type, and name, of the plugin that says which labels count."""


@dataclass(frozen=True, slots=True)
class TopologyLabels:
    """The labels that say where an endpoint runs."""

    hostname: str = "kubernetes.io/hostname"
    rack: str = "topology.kubernetes.io/rack"
    zone: str = "topology.kubernetes.io/zone"
    region: str = "topology.kubernetes.io/region"


class Topology:
    """Where endpoints run, as far as some labels tell."""

    def __init__(self, labels: TopologyLabels | None = None) -> None:
        self.labels = labels or TopologyLabels()
        keys = (self.labels.hostname, self.labels.rack, self.labels.zone, self.labels.region)
        levels = [numbered(key) for key in keys]
        self._places = ByVersion(lambda table: np.array([level.of(table).rows for level in levels]))

    def distances(self, table: EndpointTable, peer: int, rows: Rows) -> Rows | None:
        """Index in LEVELS of the closest level that each row shares with the peer's, or APART; shape (n,).

        None: nothing is known of where the peer runs. A level that either does not name is not shared.
        """
        places = self._places.of(table)
        if not 0 <= peer < places.shape[1] or (places[:, peer] == ABSENT).all():
            return None
        closest = np.full(len(rows), APART, np.int64)
        # From the widest on, so that a closer level overwrites it.
        for level in reversed(range(len(LEVELS))):
            if places[level, peer] != ABSENT:
                np.putmask(closest, places[level].take(rows) == places[level, peer], level)
        return closest


def topology(producer: str = EXTRACTOR) -> Key[Topology]:
    """The fact by which an extractor says which labels count."""
    return Key("Topology", producer)
