"""The metrics page of the fake replicas stands for a real one: its size, its families, its numbers."""

from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.overhead.filling import BLOCK_BYTES, CAPACITY
from bench.samples.page import BLOCKS, pages
from endpoint_picker.datalayer.engines import BUILT_IN, parse_spec
from endpoint_picker.datalayer.extract import Reader
from endpoint_picker.producers.tokens import TOKEN_BYTES

RECORDED_BYTES: Final = 58_651
"""A page of vLLM 0.32 after a few requests."""
VLLM: Final = BUILT_IN[0]


@pytest.fixture(scope="module")
def page() -> bytes:
    return pages(1, seed=1, busy=True)[0]


def test_it_is_as_large_as_a_real_one(page: bytes) -> None:
    assert len(page) == pytest.approx(RECORDED_BYTES, rel=0.1)


def test_it_has_every_family_that_the_picker_reads(page: bytes) -> None:
    specs = (
        VLLM.queued_requests_spec,
        VLLM.running_requests_spec,
        VLLM.kv_usage_spec,
        VLLM.lora_spec,
        VLLM.cache_info_spec,
    )
    names = {spec.name for spec in map(parse_spec, specs) if spec is not None}
    assert len(names) == len(specs)
    assert names <= {family.name for family in text_string_to_metric_families(page.decode())}


def test_the_picker_reads_it(page: bytes) -> None:
    gauges = Reader(VLLM).read(page)
    assert gauges.num_blocks == BLOCKS
    assert gauges.block_size == 16
    assert gauges.kv_usage == pytest.approx(0.5, abs=0.1)
    assert None not in (gauges.waiting, gauges.running, gauges.max_lora)


def test_pages_differ() -> None:
    assert len(set(pages(4, seed=1, busy=True))) == 4


def test_an_endpoint_holds_as_many_blocks_as_the_design_counts_with() -> None:
    assert CAPACITY == 31_250
    assert BLOCK_BYTES == 64 * TOKEN_BYTES
