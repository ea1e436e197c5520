"""Reads how busy another cluster is from what its own picker publishes: means over its replicas."""

from typing import Final

from endpoint_picker.datalayer.engines import Spec, parse_spec
from endpoint_picker.datalayer.series import ExtractError, Scalars
from endpoint_picker.plugin import Parameters, Plugin, Wiring

KV_USAGE: Final = "llm-d.ai/multicluster-kv-cache-utilization"
QUEUE_SIZE: Final = "llm-d.ai/multicluster-queue-size"
"""Keys of the attributes."""


class MulticlusterParameters(Parameters, frozen=True):
    """Parameters of `multicluster-metrics-extractor`: metrics as name or name{label=value}."""

    kv_cache_utilization_metric: str = "llm_d_epp_average_kv_cache_utilization"
    queue_size_metric: str = "llm_d_epp_average_queue_size"

    def __post_init__(self) -> None:
        _spec(self.kv_cache_utilization_metric, "kvCacheUtilizationMetric")
        _spec(self.queue_size_metric, "queueSizeMetric")


class MulticlusterExtractor(Plugin):
    """`multicluster-metrics-extractor`: a cluster's cache use and queue length as attributes."""

    type = "multicluster-metrics-extractor"
    stability = "alpha"
    schema = MulticlusterParameters

    def __init__(self, name: str, parameters: MulticlusterParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        kv_usage = _spec(parameters.kv_cache_utilization_metric, "kvCacheUtilizationMetric")
        queue_size = _spec(parameters.queue_size_metric, "queueSizeMetric")
        self._scalars = Scalars(((KV_USAGE, kv_usage), (QUEUE_SIZE, queue_size)), name)

    def extract(self, page: bytes, row: int) -> None:
        """Raises ExtractError where the page has neither."""
        if not self._scalars.write(page, self.wiring.table, row):
            raise ExtractError("the page has neither metric of a cluster")

    def forget(self, row: int) -> None:
        """Neither is known any more."""
        self._scalars.forget(self.wiring.table, row)


def _spec(text: str, key: str) -> Spec:
    try:
        spec = parse_spec(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if spec is None:
        raise ValueError(f"{key}: is empty; write name or name{{label=value}}")
    return spec
