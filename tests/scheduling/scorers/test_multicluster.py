"""Scorers of clusters: the formulas, and clusters that tell nothing."""

import numpy as np

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.scheduling.scorers.multicluster import KV_USAGE, QUEUE, KvUsage, Queue
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of


def clusters(attribute: str, values: list[float]) -> EndpointTable:
    """Each cluster's attribute; the gauges of single replicas are never read here, so all are stale."""
    table = table_of((), [{}] * len(values))
    for row, value in enumerate(values):
        table.set_scalar(row, attribute, "any-extractor", value)
    return table


def queue_scores(table: EndpointTable, rows: list[int] | None = None) -> list[float]:
    found = Queue("q", None, wiring_of(table)).score(request_with(table), candidates_of(table, rows))
    return [float(score) for score in found]


def kv_scores(table: EndpointTable) -> list[float]:
    found = KvUsage("k", None, wiring_of(table)).score(request_with(table), candidates_of(table))
    return [float(score) for score in found]


def test_queues_scale_between_the_shortest_and_the_longest() -> None:
    # (12-2)/10 = 1, (12-7)/10 = 0.5, (12-12)/10 = 0
    assert queue_scores(clusters(QUEUE, [2.0, 7.0, 12.0])) == [1.0, 0.5, 0.0]
    assert queue_scores(clusters(QUEUE, [2.0, 7.0, 12.0]), [1, 2]) == [1.0, 0.0]
    assert queue_scores(clusters(QUEUE, [4.0, 4.0])) == [1.0, 1.0]


def test_a_cluster_that_tells_no_queue_is_average() -> None:
    # mean of 2 and 12 is 7
    assert queue_scores(clusters(QUEUE, [2.0, 12.0, np.nan])) == [1.0, 0.0, 0.5]


def test_where_no_cluster_tells_the_ledger_decides() -> None:
    table = clusters("else", [0.0, 0.0, 0.0])
    table.in_flight[:3] = [0, 5, 10]
    assert queue_scores(table) == [1.0, 0.5, 0.0]


def test_usage_scores_the_free_share() -> None:
    assert kv_scores(clusters(KV_USAGE, [0.0, 0.25, 1.0])) == [1.0, 0.75, 0.0]


def test_a_cluster_that_tells_no_usage_is_no_better_than_half_full() -> None:
    # mean of 0.1 and 0.2 is below one half; mean of 0.9 and 0.7 is above it
    assert kv_scores(clusters(KV_USAGE, [0.1, 0.2, np.nan]))[2] == 0.5
    assert round(kv_scores(clusters(KV_USAGE, [0.9, 0.7, np.nan]))[2], 9) == 0.2
    assert kv_scores(clusters("else", [0.0])) == [0.5]
