from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer import pods, records, values


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "address": "10.0.0.1", "port": 8000} | changes


def read(*entries: Any) -> list[Endpoint]:
    return records.read({"endpoints": list(entries)}, "pool.yaml").endpoints


def test_a_full_record() -> None:
    (endpoint,) = read(entry(namespace="prod", port="8001", labels={"llm-d.ai/role": "decode"}))
    assert endpoint == Endpoint("a", "10.0.0.1", 8001, "prod", {"llm-d.ai/role": "decode"})


def test_the_namespace_is_default_and_labels_are_optional() -> None:
    (endpoint,) = read(entry())
    assert endpoint.id == "default/a"
    assert endpoint.labels == {}


def test_ipv6_takes_its_shortest_form() -> None:
    (endpoint,) = read(entry(address="FD00:0:0::0001"))
    assert endpoint.host_port == "[fd00::1]:8000"


def test_an_empty_list_is_an_empty_pool() -> None:
    assert read() == []


def test_one_name_in_two_namespaces_is_two_endpoints() -> None:
    assert len(read(entry(), entry(namespace="other"))) == 2


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"adress": "10.0.0.2"}, ["endpoints[1]", '"adress"', 'did you mean "address"?']),
        ({"name": None}, ["endpoints[1].name", "is missing"]),
        ({"name": 7}, ["endpoints[1].name", "quotes"]),
        ({"name": "a/b"}, ["endpoints[1].name", "slashes"]),
        ({"name": ""}, ["endpoints[1].name", "1 to 253"]),
        ({"namespace": "x y"}, ["endpoints[1].namespace"]),
        ({"name": "first"}, ["endpoints[1].name", "default/first", "twice"]),
        ({"address": None}, ["endpoints[1].address", "missing"]),
        ({"address": "vllm.svc"}, ["endpoints[1].address", "host name", "only IP addresses"]),
        ({"address": "localhost"}, ["endpoints[1].address", "host name"]),
        ({"address": "[fd00::1]"}, ["endpoints[1].address", "without brackets"]),
        ({"address": "10.0.0.256"}, ["endpoints[1].address", "not an IP address"]),
        ({"address": "0.0.0.0"}, ["endpoints[1].address", "nothing can be sent"]),
        ({"address": "224.0.0.1"}, ["endpoints[1].address", "nothing can be sent"]),
        ({"address": "::"}, ["endpoints[1].address", "nothing can be sent"]),
        ({"address": "fe80::1%eth0"}, ["endpoints[1].address", "fe80::1%eth0"]),
        ({"address": 10.5}, ["endpoints[1].address", "not text"]),
        ({"port": None}, ["endpoints[1].port", "missing", "1 to 65535"]),
        ({"port": 0}, ["endpoints[1].port", "1 to 65535"]),
        ({"port": "65536"}, ["endpoints[1].port", "65536"]),
        ({"port": "-1"}, ["endpoints[1].port"]),
        ({"port": "http"}, ["endpoints[1].port", "http"]),
        ({"port": True}, ["endpoints[1].port", "True"]),
        ({"port": 80.5}, ["endpoints[1].port"]),
        ({"port": "٨٠"}, ["endpoints[1].port"]),
        ({"labels": ["x"]}, ["endpoints[1].labels", "not a mapping"]),
        ({"labels": {"rank": 1}}, ["endpoints[1].labels.rank", "quotes"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(changes: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(entry(name="first"), entry(**changes))
    message = str(caught.value)
    assert message.startswith("pool.yaml: ")
    for text in texts:
        assert text in message


@pytest.mark.parametrize("document", [None, [], "x", {}, {"endpoints": None}, {"endpoints": {}}])
def test_a_document_of_another_shape(document: Any) -> None:
    with pytest.raises(ConfigError, match=r"pool\.yaml: "):
        records.read(document, "pool.yaml")


def test_an_unknown_key_of_the_file_names_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r'unknown key "endpoint".*did you mean "endpoints"'):
        records.read({"endpoint": []}, "pool.yaml")


def objectives(*entries: Any) -> dict[str, int]:
    return records.read({"endpoints": [], "objectives": list(entries)}, "pool.yaml").objectives


def test_objectives_have_priorities_of_either_sign() -> None:
    found = objectives({"name": "batch", "priority": -1}, {"name": "chat", "priority": 2147483647})
    assert found == {"batch": -1, "chat": 2147483647}
    assert records.read({"endpoints": [], "objectives": None}, "pool.yaml").objectives == {}


@pytest.mark.parametrize(
    ("entry", "texts"),
    [
        ({"name": "b"}, ["objectives[1].priority", "is missing", "whole number such as -1"]),
        ({"name": "b", "priority": "-1"}, ["objectives[1].priority", "'-1' is no priority"]),
        ({"name": "b", "priority": True}, ["objectives[1].priority", "True is no priority"]),
        ({"name": "b", "priority": 1.5}, ["objectives[1].priority", "1.5 is no priority"]),
        ({"name": "b", "priority": 1 << 31}, ["objectives[1].priority", "31 bits"]),
        ({"priority": 1}, ["objectives[1].name", "is missing"]),
        ({"name": "a", "priority": 1}, ["objectives[1].name", "a is there twice"]),
        ({"name": "b", "prority": 1}, ["objectives[1]", 'did you mean "priority"?']),
        ("b", ["objectives[1]", "is not a mapping"]),
    ],
)
def test_what_is_wrong_with_an_objective_is_named(entry: Any, texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        objectives({"name": "a", "priority": 0}, entry)
    for text in ["pool.yaml: ", *texts]:
        assert text in str(caught.value)


def test_objectives_are_a_list() -> None:
    with pytest.raises(
        ConfigError, match=r"objectives: .* is not a list; write - \{name: batch, priority: -1\}"
    ):
        records.read({"endpoints": [], "objectives": {"batch": -1}}, "pool.yaml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# === where hosts have names ===


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("gateway.East.example", "gateway.east.example"),
        ("localhost", "localhost"),
        ("a-1.b", "a-1.b"),
        ("10.0.0.1", "10.0.0.1"),
        ("FD00::0001", "fd00::1"),
    ],
)
def test_a_host_is_a_name_or_an_address(written: str, expected: str) -> None:
    document = {"endpoints": [entry(address=written)]}
    assert records.read(document, "pool.yaml", values.host).endpoints[0].address == expected


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (None, "is missing"),
        (7, "is not text"),
        ("", "is not an IP address"),
        ("1.2", "is not an IP address"),
        ("10.0.0.256", "is not an IP address"),
        ("fd00:::1", "is not an IP address"),
        ("[fd00::1]", "is neither a host name nor an IP address; write one such as gateway.example"),
        *[
            (odd, "is neither a host name nor an IP address")
            for odd in ("-a.b", "a-.b", "a..b", "a b", "a_b", "x" * 64, "a." * 127 + "b")
        ],
    ],
)
def test_what_is_neither_is_refused(written: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"pool.yaml: endpoints\[0\]\.address: .*{text}"):
        records.read({"endpoints": [entry(address=written)]}, "pool.yaml", values.host)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        VALUES
        | st.fixed_dictionaries(
            {}, optional={key: VALUES | st.sampled_from(["10.0.0.1", 8000]) for key in pods.ENTRY_KEYS}
        ),
        max_size=3,
    )
)
def test_any_document_is_read_or_refused(entries: list[Any]) -> None:
    try:
        found = read(*entries)
    except ConfigError:
        return
    assert len({endpoint.id for endpoint in found}) == len(found) == len(entries)
    assert all(1 <= endpoint.port <= 65535 for endpoint in found)
