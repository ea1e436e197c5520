import math
from typing import Any

import pytest

from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer.multicluster import MulticlusterExtractor
from endpoint_picker.datalayer.series import ExtractError
from endpoint_picker.plugin import Extractor
from endpoint_picker.scheduling.scorers import multicluster as scorers
from tests.fakes.extracting import extractor, scalar

KV = "llm-d.ai/multicluster-kv-cache-utilization"
QUEUE = "llm-d.ai/multicluster-queue-size"
PAGE = (
    b'llm_d_epp_average_kv_cache_utilization{name="pool"} 0.25\n'
    b'llm_d_epp_average_queue_size{name="pool"} 3.5\n'
)


def test_both_metrics_become_attributes() -> None:
    plugin = extractor(MulticlusterExtractor)
    assert isinstance(plugin, Extractor)
    plugin.extract(PAGE, 0)
    assert (scalar(plugin, KV), scalar(plugin, QUEUE)) == (0.25, 3.5)


def test_the_attributes_are_those_that_the_scorers_read() -> None:
    assert (scorers.KV_USAGE, scorers.QUEUE) == (KV, QUEUE)


def test_metrics_may_have_other_names_and_labels() -> None:
    plugin = extractor(
        MulticlusterExtractor, kvCacheUtilizationMetric="kv{pool=a}", queueSizeMetric='q{pool="a"}'
    )
    plugin.extract(b'kv{pool="b"} 1\nkv{pool="a"} 0.5\nq{pool="a"} 7\n', 0)
    assert (scalar(plugin, KV), scalar(plugin, QUEUE)) == (0.5, 7.0)


def test_one_that_is_missing_keeps_its_value_and_leaves_the_other() -> None:
    plugin = extractor(MulticlusterExtractor)
    plugin.extract(PAGE, 0)
    plugin.extract(b"llm_d_epp_average_queue_size 9\n", 0)
    assert (scalar(plugin, KV), scalar(plugin, QUEUE)) == (0.25, 9.0)


@pytest.mark.parametrize("page", [b"", b"up 1\n", b"llm_d_epp_average_queue_size x\n"])
def test_a_page_with_neither_is_an_error(page: bytes) -> None:
    with pytest.raises(ExtractError, match="neither metric of a cluster"):
        extractor(MulticlusterExtractor).extract(page, 0)


def test_what_is_old_is_forgotten() -> None:
    plugin = extractor(MulticlusterExtractor)
    plugin.extract(PAGE, 0)
    plugin.forget(0)
    assert math.isnan(scalar(plugin, KV) or 0.0)
    assert math.isnan(scalar(plugin, QUEUE) or 0.0)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"queueSizeMetric": ""}, "queueSizeMetric: is empty; write name or name{label=value}"),
        (
            {"kvCacheUtilizationMetric": "9x"},
            "kvCacheUtilizationMetric: '9x' does not begin with a metric name",
        ),
        ({"queueMetric": "q"}, 'unknown key "queueMetric"; did you mean "queueSizeMetric"'),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        extractor(MulticlusterExtractor, **parameters)
    assert text in str(refusal.value)
