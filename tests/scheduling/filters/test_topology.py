"""The topology filter and scorer: the peer of an earlier stage, and what happens without one."""

from typing import Any

import pytest

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import peer
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.core.topology import Topology, TopologyLabels, topology
from endpoint_picker.scheduling.filters.topology import ClosenessParameters, TopologyAffinity
from endpoint_picker.scheduling.peers import PeerParameters
from endpoint_picker.scheduling.scorers.topology import TopologyAffinity as Scorer
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

HOST, RACK = "kubernetes.io/hostname", "topology.kubernetes.io/rack"
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"

TABLE = table_of(
    (),
    [
        {HOST: "h", RACK: "r", ZONE: "z", REGION: "g"},  # the peer itself
        {HOST: "i", RACK: "r", ZONE: "z", REGION: "g"},
        {HOST: "j", RACK: "s", ZONE: "z", REGION: "g"},
        {HOST: "k", RACK: "t", ZONE: "y", REGION: "g"},
        {HOST: "l", RACK: "u", ZONE: "x", REGION: "f", "mine": "m"},
        {"mine": "m"},
    ],
)


def asked(row: int | None = 0) -> Request:
    request = request_with(TABLE)
    if row is not None:
        request.attributes.write(peer(), row)
    return request


def kept(request: Request, rows: list[int] | None = None, **parameters: Any) -> list[bool]:
    keeping = TopologyAffinity("t", ClosenessParameters(**parameters), wiring_of(TABLE))
    return [bool(stays) for stays in keeping.keep(request, candidates_of(TABLE, rows))]


@pytest.mark.parametrize(
    ("widest", "count"),
    [("host", 1), ("rack", 2), ("zone", 3), ("region", 4)],
)
def test_as_close_as_asked_or_closer(widest: str, count: int) -> None:
    assert kept(asked(), min_affinity=widest) == [row < count for row in range(6)]


def test_the_same_host_is_asked_for_by_default() -> None:
    assert kept(asked()) == [True] + [False] * 5


def test_everybody_stays_where_nobody_is_close_or_no_peer_is_known() -> None:
    assert kept(asked(), [2, 3]) == [True, True]
    assert kept(asked(None)) == [True] * 6
    assert kept(asked(row=5)) == [True] * 6  # a peer without places


def test_scores_by_the_closest_level() -> None:
    scorer = Scorer("t", PeerParameters(), wiring_of(TABLE))
    assert scorer.score(asked(), candidates_of(TABLE)).tolist() == [1.0, 0.20, 0.05, 0.02, 0.0, 0.0]
    assert scorer.score(asked(), candidates_of(TABLE, [3, 1])).tolist() == [0.02, 0.20]
    assert scorer.score(asked(None), candidates_of(TABLE)).tolist() == [0.0] * 6


def test_an_extractor_says_which_labels_count() -> None:
    request = asked(row=5)
    request.attributes.write(topology("mine"), Topology(TopologyLabels(hostname="mine")))
    assert kept(request, topology_producer_name="mine") == [False] * 4 + [True, True]
    keeping = TopologyAffinity("t", ClosenessParameters(topology_producer_name="mine"), wiring_of(TABLE))
    assert list(keeping.reads()) == [topology("mine")]


def test_an_extractor_that_says_nothing_is_not_replaced_by_other_labels() -> None:
    assert kept(asked(), topology_producer_name="mine") == [True] * 6


def test_an_unknown_level_is_an_error() -> None:
    block = PluginBlock(type="topology-affinity-filter", name="t", parameters={"minAffinity": "node"})
    with pytest.raises(ConfigError, match="minAffinity"):
        load.parameters(block, ClosenessParameters, source="epp.yaml")
