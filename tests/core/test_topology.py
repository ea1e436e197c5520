"""Distances between endpoints: the closest level that both share."""

from collections.abc import Sequence

import pytest

from endpoint_picker.core.topology import Topology, TopologyLabels
from tests.fakes.pool import endpoint, table_of

KEYS = (
    "kubernetes.io/hostname",
    "topology.kubernetes.io/rack",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)


def place(text: str) -> dict[str, str]:
    """Labels from `host rack zone region`; a dash is a level that is not named."""
    return {key: value for key, value in zip(KEYS, text.split(), strict=True) if value != "-"}


def distances(peer: str, others: Sequence[str]) -> list[int] | None:
    table = table_of((), [place(peer), *map(place, others)])
    found = Topology().distances(table, 0, table.live[1:])
    return None if found is None else found.tolist()


def test_the_closest_shared_level_counts() -> None:
    others = ["h r z g", "i r z g", "i s z g", "i s y g", "i s y f"]
    assert distances("h r z g", others) == [0, 1, 2, 3, 4]


def test_a_level_that_either_does_not_name_is_not_shared() -> None:
    # No host at the peer: the rack is the closest level left. None at the second: its zone is.
    assert distances("- r z g", ["- r z g", "h - z g", "- - - -"]) == [1, 2, 4]


def test_nothing_is_known_of_a_peer_without_labels_or_of_no_row() -> None:
    assert distances("- - - -", ["h r z g"]) is None
    table = table_of((), [place("h r z g")])
    assert Topology().distances(table, 400, table.live) is None
    assert Topology().distances(table, -1, table.live) is None


def test_distances_follow_the_labels() -> None:
    table = table_of((), [place("h r z g"), place("h r z g")])
    topology = Topology()
    before = topology.distances(table, 0, table.live)
    table.replace([endpoint(0, place("h r z g")), endpoint(1, place("i s z g"))])
    after = topology.distances(table, 0, table.live)
    assert before is not None
    assert after is not None
    assert (before.tolist(), after.tolist()) == ([0, 0], [0, 2])


@pytest.mark.parametrize("level", range(4))
def test_each_level_can_have_another_label(level: int) -> None:
    name = ("hostname", "rack", "zone", "region")[level]
    table = table_of((), [{"mine": "x"}, {"mine": "x"}, {"mine": "y"}])
    found = Topology(TopologyLabels(**{name: "mine"})).distances(table, 0, table.live)
    assert found is not None
    assert found.tolist() == [level, level, 4]
