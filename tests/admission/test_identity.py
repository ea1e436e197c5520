"""Who asks: which header counts, and whose word on fairness wins."""

import pytest

from endpoint_picker.admission.identity import AgentIdentity
from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import agent_identity
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import HeaderReader
from tests.fakes.pool import table_of, wiring_of

FAIRNESS = "x-llm-d-inference-fairness-id"


def built(*additional: str) -> AgentIdentity:
    block = PluginBlock(
        type="agent-identity", name="a", parameters={"additionalSessionHeaders": list(additional)}
    )
    parameters = load.parameters(block, AgentIdentity.schema, source="epp.yaml")
    plugin = AgentIdentity("a", parameters, wiring_of(table_of([])))  # type: ignore[arg-type]
    assert isinstance(plugin, HeaderReader)
    return plugin


def read(headers: dict[str, str], *additional: str) -> Request:
    request = Request("r", headers, "/", 0.0, fairness_id=headers.get(FAIRNESS) or "default-flow")
    built(*additional).read_headers(request)
    return request


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"session_id": "d"}, "d"),
        ({"session_id": "d", "session-id": "c"}, "c"),
        ({"session-id": "c", "x-session-affinity": "b"}, "b"),
        ({"x-session-affinity": "b", "x-claude-code-session-id": "a"}, "a"),
        ({"x-session-affinity": "b", "x-claude-code-session-id": ""}, "b"),
        ({"x-claude-code-session-id": "a", "x-mine": "m"}, "m"),
    ],
)
def test_the_first_header_that_says_something(headers: dict[str, str], expected: str | None) -> None:
    request = read(headers, "X-Mine")
    assert request.attributes.read(agent_identity()) == expected
    assert request.fairness_id == (expected or "default-flow")


@pytest.mark.parametrize("name", [FAIRNESS, "x-gateway-inference-fairness-id"])
def test_what_the_client_says_of_fairness_stands(name: str) -> None:
    headers = {name: "tenant", "session-id": "c"}
    request = Request("r", headers, "/", 0.0, fairness_id="tenant")
    built().read_headers(request)
    assert request.fairness_id == "tenant"
    assert request.attributes.read(agent_identity()) == "c"


def test_a_client_may_ask_for_the_default_flow() -> None:
    assert read({FAIRNESS: "default-flow", "session-id": "c"}).fairness_id == "default-flow"


def test_it_is_experimental() -> None:
    assert AgentIdentity.stability == "alpha"


def test_an_empty_name_is_refused_with_its_place() -> None:
    with pytest.raises(
        ConfigError, match=r"additionalSessionHeaders\[1\] is empty; write the name of a header"
    ):
        built("x-mine", " ")
