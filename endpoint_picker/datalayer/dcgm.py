"""Reads how busy the GPUs of a replica are from the page of NVIDIA's exporter.

One exporter serves a whole node, so its page has the GPUs of other pods as well.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

from endpoint_picker.datalayer.page import Families
from endpoint_picker.datalayer.series import ExtractError, share
from endpoint_picker.plugin import Plugin

FAMILY: Final = "DCGM_FI_DEV_GPU_UTIL"
"""Percent of the time in which a GPU had anything to do."""
ATTRIBUTE: Final = "GPUUtilization"
POD_LABEL: Final = "pod"

_RANK: Final = re.compile(r"-rank-\d+\Z")
"""What the name of an endpoint has more than that of its pod, where nobody says which pod that is."""
_FAMILIES: Final = Families([FAMILY])


class DcgmExtractor(Plugin):
    """`dcgm-extractor`: the busiest GPU of the replica, in 0..1, as the attribute `GPUUtilization`."""

    type = "dcgm-extractor"
    stability = "alpha"

    def extract(self, page: bytes, row: int) -> None:
        """Raises ExtractError where the page has no GPU of the endpoint's pod."""
        table = self.wiring.table
        endpoint = table[row]
        pod = endpoint.pod if endpoint.rank is not None else _RANK.sub("", endpoint.name)
        percents = list(_of(pod, page))
        if not percents:
            raise ExtractError(f"the page has no {FAMILY} of the pod {pod}")
        busy = share(max(percents) / 100.0)
        table.set_scalar(row, ATTRIBUTE, self.name, math.nan if busy is None else busy)

    def forget(self, row: int) -> None:
        """It is not known any more."""
        self.wiring.table.set_scalar(row, ATTRIBUTE, self.name, math.nan)


def _of(pod: str, page: bytes) -> Iterator[float]:
    """Percents of the GPUs that are the pod's, or are not said to be another's."""
    for series in _FAMILIES.read(page).get(FAMILY, ()):
        if series.labels.get(POD_LABEL, pod) in (pod, "") and series.value >= 0.0:
            yield series.value
