from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer import records


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "pod", "address": "10.0.0.1"} | changes


def read(*entries: Any) -> list[Endpoint]:
    return records.read({"endpoints": list(entries)}, "pool.yaml").endpoints


def told(*entries: Any) -> list[str]:
    """Of each endpoint: name, port, what the engines call it, and the header that it needs."""
    return [
        f"{each.name} {each.port} {'-' if each.global_rank is None else each.global_rank}"
        + "".join(f" {name}={value}" for name, value in each.fields)
        for each in read(*entries)
    ]


def split(size: Any, **changes: Any) -> dict[str, Any]:
    return {"mode": "internal", "size": size, "ranks": "split"} | changes


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"port": 8000}, ["pod 8000 -"]),
        # === an engine at each port
        ({"targetPorts": [8000, 8001]}, ["pod-rank-0 8000 0", "pod-rank-1 8001 1"]),
        ({"targetPorts": ["8001", {"number": 8000}]}, ["pod-rank-0 8001 0", "pod-rank-1 8000 1"]),
        ({"targetPorts": [8000]}, ["pod-rank-0 8000 0"]),
        ({"targetPorts": [8000, 8001, 8002], "activePorts": [8002]}, ["pod-rank-2 8002 2"]),
        (
            {"targetPorts": [8000, 8001, 8002], "activePorts": " 8002,8000"},
            ["pod-rank-0 8000 0", "pod-rank-2 8002 2"],
        ),
        ({"targetPorts": [8000, 8001], "activePorts": None}, ["pod-rank-0 8000 0", "pod-rank-1 8001 1"]),
        ({"targetPorts": [8000, 8001], "activePorts": []}, []),
        ({"targetPorts": [8000, 8001], "activePorts": ""}, []),
        (
            {"targetPorts": [8000, 8001], "dataParallel": {"startRank": 8}},
            ["pod-rank-0 8000 8", "pod-rank-1 8001 9"],
        ),
        ({"port": 8000, "dataParallel": {"mode": "external", "startRank": 3}}, ["pod-rank-0 8000 3"]),
        # === several ranks at one port
        ({"port": 8000, "dataParallel": {"mode": "internal"}}, ["pod 8000 -"]),
        ({"port": 8000, "dataParallel": {"mode": "internal", "size": 4}}, ["pod 8000 -"]),
        (
            {"port": 8000, "dataParallel": {"mode": "hybrid", "ranks": "summed", "startRank": 4}},
            ["pod 8000 -"],
        ),
        (
            {"port": 8000, "dataParallel": split(2)},
            ["pod-rank-0 8000 0 x-data-parallel-rank=0", "pod-rank-1 8000 1 x-data-parallel-rank=1"],
        ),
        (
            {"port": 8000, "dataParallel": split(2, mode="hybrid", startRank=4)},
            ["pod-rank-0 8000 4 x-data-parallel-rank=0", "pod-rank-1 8000 5 x-data-parallel-rank=1"],
        ),
    ],
)
def test_an_entry_is_as_many_endpoints_as_can_be_picked(fields: dict[str, Any], expected: list[str]) -> None:
    assert told(entry(**fields)) == expected


def test_ranks_have_all_that_the_pod_has() -> None:
    labels = {"llm-d.ai/role": "decode"}
    one, two = read(entry(targetPorts=[8000, 8001], namespace="models", labels=labels, address="fd00::1"))
    for endpoint in (one, two):
        assert (endpoint.pod, endpoint.namespace, endpoint.labels) == ("pod", "models", labels)
        assert endpoint.address == "fd00::1"
    assert (one.rank, two.rank) == (0, 1)
    assert two.id == "models/pod-rank-1"


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({}, ["endpoints[1].port", "is missing"]),
        ({"port": 8000, "targetPorts": [8000]}, ["endpoints[1].port", "remove one of the two"]),
        ({"targetPort": [8000]}, ["endpoints[1]", 'did you mean "targetPorts"?']),
        ({"targetPorts": 8000}, ["endpoints[1].targetPorts", "8000 is not a list; write one such as"]),
        ({"targetPorts": []}, ["endpoints[1].targetPorts", "write 1 to 256 ports, not 0"]),
        ({"targetPorts": list(range(1, 300))}, ["endpoints[1].targetPorts", "not 299"]),
        ({"targetPorts": [8000, "x"]}, ["endpoints[1].targetPorts[1]", "'x' is not a port"]),
        ({"targetPorts": [8000, 8000]}, ["endpoints[1].targetPorts[1]", "8000 is there twice"]),
        ({"targetPorts": [{"number": 0}]}, ["endpoints[1].targetPorts[0].number", "1 to 65535"]),
        ({"targetPorts": [{"numbr": 80}]}, ["endpoints[1].targetPorts[0]", 'did you mean "number"?']),
        (
            {"targetPorts": [8000], "activePorts": [8001]},
            ["endpoints[1].activePorts[0]", "8001 is none of targetPorts"],
        ),
        ({"targetPorts": [8000], "activePorts": "8000,"}, []),
        (
            {"targetPorts": [8000], "activePorts": "all"},
            ["endpoints[1].activePorts[0]", "'all' is not a port"],
        ),
        ({"port": 8000, "activePorts": [8000]}, ["endpoints[1].activePorts", "only some of targetPorts"]),
        ({"port": 8000, "dataParallel": "internal"}, ["endpoints[1].dataParallel", "not a mapping"]),
        ({"port": 8000, "dataParallel": {"sizes": 2}}, ["endpoints[1].dataParallel", '"size"']),
        (
            {"port": 8000, "dataParallel": {"mode": "inernal"}},
            ["endpoints[1].dataParallel.mode", 'did you mean "internal"?'],
        ),
        (
            {"port": 8000, "dataParallel": {"mode": ["internal"]}},
            ["endpoints[1].dataParallel.mode", "['internal'] is unknown"],
        ),
        (
            {"targetPorts": [8000], "dataParallel": {"size": 1}},
            ["endpoints[1].dataParallel.size", "a rank at each of targetPorts"],
        ),
        (
            {"targetPorts": [8000], "dataParallel": split(2)},
            ["endpoints[1].targetPorts", "share one port; write port"],
        ),
        (
            {"port": 8000, "dataParallel": split(2), "activePorts": [8000]},
            ["endpoints[1].activePorts", "only some of targetPorts"],
        ),
        (
            {"port": 8000, "dataParallel": split(2, startRank=2)},
            ["endpoints[1].dataParallel.startRank", "is it mode hybrid?"],
        ),
        (
            {"port": 8000, "dataParallel": {"mode": "internal", "ranks": "split"}},
            ["endpoints[1].dataParallel.size", "is missing; write a whole number from 1 to 256"],
        ),
        *(
            ({"port": 8000, "dataParallel": split(size)}, ["endpoints[1].dataParallel.size", "1 to 256"])
            for size in (0, -1, 257, 10**12, True, "4", 1.5)
        ),
        (
            {"port": 8000, "dataParallel": {"mode": "hybrid", "startRank": -1}},
            ["endpoints[1].dataParallel.startRank", "-1 is no whole number from 0 to"],
        ),
        (
            {"port": 8000, "dataParallel": {"mode": "hybrid", "ranks": "each"}},
            ["endpoints[1].dataParallel.ranks", "'each' is unknown"],
        ),
        ({"name": "first", "targetPorts": [80]}, ["endpoints[1].name", "default/first-rank-0", "twice"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(fields: dict[str, Any], texts: list[str]) -> None:
    first = entry(name="first-rank-0", port=8000)
    if not texts:
        assert len(read(first, entry(**fields))) == 2
        return
    with pytest.raises(ConfigError) as caught:
        read(first, entry(**fields))
    for text in ["pool.yaml: ", *texts]:
        assert text in str(caught.value)


def test_a_short_file_cannot_ask_for_more_endpoints_than_anybody_has() -> None:
    wide = [entry(name=f"p{number}", port=1, dataParallel=split(256)) for number in range(258)]
    assert len(read(*wide[:256])) == 65536
    with pytest.raises(ConfigError, match=r"endpoints\[256\]: makes more than 65536 endpoints"):
        read(*wide)


def test_a_subset_by_ip_means_all_ranks_of_the_pod() -> None:
    table = EndpointTable()
    table.replace(
        read(
            entry(targetPorts=[8000, 8001]),
            entry(name="b", address="10.0.0.2", port=80, dataParallel=split(3)),
        )
    )
    assert len(table.rows_at("10.0.0.1")) == 2
    assert len(table.rows_at("10.0.0.1:8001")) == 1
    assert len(table.rows_at("10.0.0.2")) == len(table.rows_at("10.0.0.2:80")) == 3


PORT = st.integers(1, 65535)


@settings(deadline=None)
@given(ports=st.lists(PORT, min_size=1, max_size=16, unique=True), data=st.data(), start=st.integers(0, 1000))
def test_what_is_active_never_changes_who_is_who(ports: list[int], data: st.DataObject, start: int) -> None:
    chosen = data.draw(st.lists(st.sampled_from(ports), unique=True))
    parallel = {"startRank": start}
    everybody = read(entry(targetPorts=ports, dataParallel=parallel))
    assert [(each.rank, each.port) for each in everybody] == list(enumerate(ports))
    active = read(entry(targetPorts=ports, activePorts=chosen, dataParallel=parallel))
    assert active == [each for each in everybody if each.port in chosen]


ANY = st.none() | st.integers(-2, 9) | st.sampled_from(["internal", "hybrid", "split", "8000", ""])
PARALLEL = ANY | st.dictionaries(st.sampled_from(["mode", "size", "startRank", "ranks"]), ANY, max_size=4)
PORTS = ANY | st.lists(ANY | PORT, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"port": ANY, "targetPorts": PORTS, "activePorts": PORTS, "dataParallel": PARALLEL}
    )
)
def test_any_entry_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        found = read(entry(**fields))
    except ConfigError:
        return
    assert len({each.id for each in found}) == len(found) <= 256
    assert all(each.pod == "pod" and 1 <= each.port <= 65535 for each in found)
