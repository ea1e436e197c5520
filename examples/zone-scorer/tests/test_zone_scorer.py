"""The client's zone wins, nobody is lost without one, and the laws of all scorers hold."""

from endpoint_picker.testing import candidates_of, check_plugin, make, request_with, table_of
from zone_scorer import Zone

LABEL = "topology.kubernetes.io/zone"
TABLE = table_of(labels=[{LABEL: "east"}, {LABEL: "west"}, {}])


def scores(headers: dict[str, str]) -> list[float]:
    scorer = make(Zone, TABLE, elsewhere=0.25)
    return list(scorer.score(request_with(TABLE, headers=headers), candidates_of(TABLE)))


def test_the_clients_zone_wins() -> None:
    assert scores({"x-zone": "west"}) == [0.25, 1.0, 0.25]


def test_a_client_without_a_zone_is_at_home_nowhere() -> None:
    assert scores({}) == [0.25, 0.25, 0.25]


def test_it_keeps_the_laws() -> None:
    check_plugin(Zone, elsewhere=0.5)
