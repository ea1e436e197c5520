"""The pool's gauges are what the table says when the page is read."""

from statistics import stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from endpoint_picker.core.endpoints import Endpoint, EndpointTable, Gauges
from endpoint_picker.observability.metrics import Metrics

TWINS = {
    "llm_d_epp_average_kv_cache_utilization": "inference_pool_average_kv_cache_utilization",
    "llm_d_epp_average_queue_size": "inference_pool_average_queue_size",
    "llm_d_epp_average_running_requests": "inference_pool_average_running_requests",
    "llm_d_epp_ready_endpoints": "inference_pool_ready_pods",
}
SPREAD = tuple(
    f"llm_d_epp_std_dev_{what}" for what in ("kv_cache_utilization", "queue_size", "running_requests")
)


class Fleet:
    """A pool of n endpoints, a clock that stands still, and the page."""

    def __init__(self, size: int) -> None:
        self.now = 100.0
        self.table = EndpointTable(stale_after=2.0)
        self.table.replace(Endpoint(f"pod-{n}", f"10.0.0.{n + 1}", 8000) for n in range(size))
        self.metrics = Metrics(pool="my-pool", clock=lambda: self.now)
        self.metrics.watch(self.table)

    def read(self, row: int, *, waiting: float, running: float = 0.0, kv: float = 0.0) -> None:
        self.table.observe(row, Gauges(waiting=waiting, running=running, kv_usage=kv), self.now)

    def shown(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"name": "my-pool", **labels})


def test_averages_and_spread_of_what_is_fresh() -> None:
    fleet = Fleet(3)
    fleet.read(2, waiting=900, running=900, kv=1.0)
    fleet.now += 5
    fleet.read(0, waiting=3, running=10, kv=0.333)
    fleet.read(1, waiting=8, running=20, kv=0.5)
    assert fleet.shown("llm_d_epp_average_queue_size") == 5.5
    assert fleet.shown("llm_d_epp_average_running_requests") == 15
    assert fleet.shown("llm_d_epp_average_kv_cache_utilization") == 0.42
    assert fleet.shown("llm_d_epp_std_dev_queue_size") == round(stdev([3, 8]), 2)
    assert fleet.shown("llm_d_epp_std_dev_running_requests") == round(stdev([10, 20]), 2)
    assert fleet.shown("llm_d_epp_std_dev_kv_cache_utilization") == round(stdev([0.333, 0.5]), 2)
    assert fleet.shown("llm_d_epp_ready_endpoints") == 2


@pytest.mark.parametrize(("new", "old"), TWINS.items())
def test_twins_are_equal(new: str, old: str) -> None:
    fleet = Fleet(2)
    fleet.read(0, waiting=3, running=10, kv=0.25)
    fleet.read(1, waiting=4, running=2, kv=0.5)
    assert fleet.shown(new) is not None
    assert fleet.shown(new) == fleet.shown(old)


def test_averages_freeze_when_nothing_is_fresh() -> None:
    fleet = Fleet(1)
    fleet.read(0, waiting=7)
    assert fleet.shown("llm_d_epp_average_queue_size") == 7
    fleet.now += 2.5
    assert fleet.shown("llm_d_epp_average_queue_size") == 7
    assert fleet.shown("llm_d_epp_ready_endpoints") == 0
    fleet.read(0, waiting=1)
    assert fleet.shown("llm_d_epp_average_queue_size") == 1
    assert fleet.shown("llm_d_epp_ready_endpoints") == 1


def test_unknown_values_do_not_count() -> None:
    fleet = Fleet(2)
    fleet.read(0, waiting=4, kv=float("nan"))
    fleet.read(1, waiting=float("nan"), kv=0.5)
    assert fleet.shown("llm_d_epp_average_queue_size") == 4
    assert fleet.shown("llm_d_epp_std_dev_queue_size") == 0
    assert fleet.shown("llm_d_epp_average_kv_cache_utilization") == 0.5
    assert fleet.shown("llm_d_epp_per_endpoint_queue_size", model_server_endpoint="pod-1") is None


def test_before_any_reading_there_is_nothing_to_show() -> None:
    fleet = Fleet(2)
    assert [fleet.shown(name) for name in (*TWINS, *SPREAD)] == [None, None, None, 0, None, None, None]
    assert Metrics().registry.get_sample_value("llm_d_epp_ready_endpoints", {"name": "epp"}) is None


def test_each_fresh_endpoint_shows_its_queue() -> None:
    fleet = Fleet(2)
    fleet.read(0, waiting=4)
    assert fleet.shown("llm_d_epp_per_endpoint_queue_size", model_server_endpoint="pod-0") == 4
    assert fleet.shown("inference_pool_per_pod_queue_size", model_server_pod="pod-0") == 4
    assert fleet.shown("llm_d_epp_per_endpoint_queue_size", model_server_endpoint="pod-1") is None


def test_endpoint_that_left_counts_no_longer() -> None:
    fleet = Fleet(2)
    fleet.read(0, waiting=4)
    fleet.read(1, waiting=100)
    fleet.table.replace([fleet.table[0]])
    assert fleet.shown("llm_d_epp_average_queue_size") == 4
    assert fleet.shown("llm_d_epp_ready_endpoints") == 1
    assert fleet.shown("inference_pool_per_pod_queue_size", model_server_pod="pod-1") is None


def test_names_that_clash_do_not_break_the_page() -> None:
    fleet = Fleet(0)
    names = ["x", "x", "y\n", "y\r"]
    fleet.table.replace(Endpoint(name, f"10.0.0.{n}", 1, namespace=str(n)) for n, name in enumerate(names, 1))
    for row in range(4):
        fleet.read(row, waiting=row + 1)
    page = text_string_to_metric_families(generate_latest(fleet.metrics.registry).decode())
    shown = {f.name: [(s.labels["model_server_endpoint"], s.value) for s in f.samples] for f in page
             if f.name == "llm_d_epp_per_endpoint_queue_size"}  # fmt: skip
    assert shown == {"llm_d_epp_per_endpoint_queue_size": [("x", 3), ("y?", 7)]}


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=20))
@settings(max_examples=40, deadline=None)
def test_mean_lies_within_the_values(queues: list[float]) -> None:
    fleet = Fleet(len(queues))
    for row, waiting in enumerate(queues):
        fleet.read(row, waiting=waiting)
    mean = fleet.shown("llm_d_epp_average_queue_size")
    assert mean is not None
    assert min(queues) - 0.01 <= mean <= max(queues) + 0.01
    assert fleet.shown("llm_d_epp_std_dev_queue_size") == pytest.approx(stdev(queues), abs=0.006)
