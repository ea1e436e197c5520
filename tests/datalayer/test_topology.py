from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.core.topology import APART, topology
from endpoint_picker.datalayer.topology import TopologyExtractor
from endpoint_picker.plugin import Producer
from tests.fakes.extracting import extractor


def distances(name: str = "", **parameters: Any) -> list[int]:
    """How far each of three endpoints is from the first."""
    plugin = extractor(TopologyExtractor, name=name, **parameters)
    table = plugin.wiring.table
    zone, own = "topology.kubernetes.io/zone", "acme/rack"
    labels = ({zone: "z1", own: "r1"}, {zone: "z1", own: "r2"}, {zone: "z2", own: "r1"})
    table.replace(Endpoint(str(n), f"10.0.0.{n}", 8000, labels=each) for n, each in enumerate(labels))
    request = Request("r", {}, "/", 0.0)
    plugin.produce(request, table.candidates(0.0))
    places = request.attributes.read(topology(name or "topology-extractor"))
    assert places is not None
    found = places.distances(table, 0, np.arange(3))
    assert found is not None
    whole: list[int] = found.tolist()
    return whole


def test_without_parameters_the_usual_labels_count() -> None:
    assert distances() == [2, 2, APART]


def test_a_label_of_ones_own_counts_for_its_level() -> None:
    assert distances(rack="acme/rack") == [1, 2, 1]


def test_an_empty_parameter_means_the_usual_label() -> None:
    assert distances(zone="") == [2, 2, APART]


def test_the_fact_has_the_name_of_the_instance() -> None:
    assert distances(name="places") == [2, 2, APART]
    plugin = extractor(TopologyExtractor, name="places")
    assert plugin.produces() == (topology("places"),)
    assert isinstance(plugin, Producer)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ConfigError, match='did you mean "hostname"'):
        extractor(TopologyExtractor, hostnam="x")
