import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.datalayer.dcgm import DcgmExtractor
from endpoint_picker.datalayer.series import ExtractError
from endpoint_picker.plugin import Extractor
from tests.fakes.extracting import extractor, scalar


def gpu(value: object, **labels: str) -> str:
    inside = ",".join(f'{name}="{text}"' for name, text in {"gpu": "0", **labels}.items())
    return f"DCGM_FI_DEV_GPU_UTIL{{{inside}}} {value}\n"


NODE = (
    "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
    + gpu(30, pod="pod-a", namespace="models")
    + gpu(70, pod="pod-a", namespace="models")
    + gpu(99, pod="pod-b", namespace="models")
    + 'DCGM_FI_DEV_MEM_COPY_UTIL{gpu="0",pod="pod-a"} 100\n'
)
"""The page of a node with two GPUs for pod-a and one for pod-b."""


@pytest.mark.parametrize(
    ("endpoint", "page", "expected"),
    [
        ("pod-a-rank-0", NODE, 0.7),
        ("pod-a", NODE, 0.7),
        ("pod-b-rank-12", NODE, 0.99),
        ("pod-a", gpu(5) + gpu(25), 0.25),  # beside one pod only, so it does not name it
        ("pod-a", gpu(5, pod=""), 0.05),
        ("pod-a", gpu(0, pod="pod-a"), 0.0),
        ("pod-a", gpu(130, pod="pod-a"), 1.0),
        ("pod-a", gpu("NaN", pod="pod-a") + gpu(40, pod="pod-a"), 0.4),
    ],
)
def test_the_busiest_gpu_of_the_pod_counts(endpoint: str, page: str, expected: float) -> None:
    plugin = extractor(DcgmExtractor, endpoint=endpoint)
    plugin.extract(page.encode(), 0)
    assert scalar(plugin, "GPUUtilization") == pytest.approx(expected)


def test_a_rank_shows_the_gpus_of_the_pod_that_it_is_of() -> None:
    plugin = extractor(DcgmExtractor)
    plugin.wiring.table.replace([Endpoint("x", "10.0.0.1", 8000, pod="pod-b", rank=1)])
    plugin.extract(NODE.encode(), 0)
    assert scalar(plugin, "GPUUtilization") == pytest.approx(0.99)


@pytest.mark.parametrize("page", ["", "up 1\n", gpu(50, pod="pod-b"), gpu("NaN"), gpu(-1), "<html>"])
def test_a_page_without_a_gpu_of_the_pod_is_an_error(page: str) -> None:
    plugin = extractor(DcgmExtractor)
    with pytest.raises(ExtractError, match="no DCGM_FI_DEV_GPU_UTIL of the pod pod-a"):
        plugin.extract(page.encode(), 0)
    assert scalar(plugin, "GPUUtilization") is None


def test_an_instance_of_another_name_writes_under_that_name() -> None:
    plugin = extractor(DcgmExtractor, name="gpus")
    plugin.extract(NODE.encode(), 0)
    assert plugin.wiring.table.scalar("GPUUtilization", "dcgm-extractor") is None
    assert scalar(plugin, "GPUUtilization") == pytest.approx(0.7)


def test_what_is_old_is_forgotten() -> None:
    plugin = extractor(DcgmExtractor)
    assert isinstance(plugin, Extractor)
    plugin.extract(NODE.encode(), 0)
    plugin.forget(0)
    assert math.isnan(scalar(plugin, "GPUUtilization") or 0.0)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_whatever_comes_is_a_share_or_an_error(tail: bytes) -> None:
    plugin = extractor(DcgmExtractor)
    try:
        plugin.extract(b"DCGM_FI_DEV_GPU_UTIL" + tail, 0)
    except ExtractError:
        return
    value = scalar(plugin, "GPUUtilization")
    assert value is not None
    assert math.isnan(value) or 0.0 <= value <= 1.0
