"""What the data plane is told: one number of the usage at the end, and who served the request."""

from typing import Any

import pytest

from endpoint_picker.admission.reporting import AttributeReporter, ServedVerifier
from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request, Usage
from endpoint_picker.plugin import Reporter, Responder
from tests.fakes.assembling import assembled, plugin
from tests.fakes.pool import request_with, table_of, wiring_of

REQUEST = Request("r", {}, "/", 0.0)


def built(*attributes: Any) -> AttributeReporter:
    block = PluginBlock(
        type="request-attribute-reporter", name="a", parameters={"attributes": list(attributes)}
    )
    parameters = load.parameters(block, AttributeReporter.schema, source="epp.yaml")
    try:
        found = AttributeReporter("a", parameters, wiring_of(table_of([])))  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    assert isinstance(found, Reporter)
    return found


def attribute(expression: str, condition: str = "", **key: str) -> dict[str, Any]:
    written = {"key": {"name": "cost", **key}, "expression": expression}
    return {**written, "condition": condition} if condition else written


def report(expression: str, condition: str = "", usage: Usage | None = None) -> Any:
    return built(attribute(expression, condition)).report(REQUEST, usage or Usage(100, 21, 64))


def test_the_sum_of_both_goes_into_the_usual_namespace() -> None:
    assert report("usage.prompt_tokens + usage.completion_tokens\n") == {"envoy.lb": {"cost": 121.0}}


def test_the_namespace_is_a_parameter() -> None:
    found = built(attribute("usage.prompt_tokens", namespace="billing", name="in"))
    assert found.report(REQUEST, Usage(7)) == {"billing": {"in": 7.0}}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("usage.completion_tokens / 2", 10.0),  # 21 / 2 = 10.5
        ("-usage.completion_tokens / 2", -10.0),
        ("0", None),
        ("usage.prompt_tokens / 1000", None),  # 0.1
        ("1 / (usage.cached_tokens - 64)", None),
    ],
)
def test_whole_numbers_and_neither_zero_nor_nonsense(expression: str, expected: float | None) -> None:
    assert report(expression) == ({} if expected is None else {"envoy.lb": {"cost": expected}})


@pytest.mark.parametrize(
    ("condition", "usage", "told"),
    [
        ("has(usage.completion_tokens)", Usage(100, 21), True),
        ("has(usage.completion_tokens)", Usage(100), False),
        ("usage.prompt_tokens > 100", Usage(100, 21), False),
        ("1 / usage.cached_tokens > 0", Usage(100, 21), False),
    ],
)
def test_the_condition_decides(condition: str, usage: Usage, told: bool) -> None:
    assert report("usage.prompt_tokens", condition, usage) == ({"envoy.lb": {"cost": 100.0}} if told else {})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ([], "attributes has 0 entries; write exactly one"),
        ([attribute("1"), attribute("2")], "attributes has 2 entries; write exactly one"),
        ([{"key": {"name": "x"}}], "expression"),
        ([{"expression": "1"}], "key"),
        ([attribute("1", name="")], "name and namespace must not be empty"),
        ([attribute("usage.prompt_tokens +")], "attributes[0].expression: column 22: a field such as"),
        ([attribute("")], "attributes[0].expression: column 1: a field such as"),
        ([attribute("1", "usage.x")], 'attributes[0].condition: column 1: "usage.x" is not known'),
        ([attribute("true")], "attributes[0].expression: is not a number; write usage.prompt_tokens"),
        ([attribute("1", "1")], "attributes[0].condition: is not a test; write has(usage.prompt_tokens)"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(attributes: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(*attributes)
    assert message in str(caught.value)


def test_a_bad_expression_ends_the_start_with_the_plugin_named() -> None:
    block = plugin("request-attribute-reporter", "cost", attributes=[attribute("usage.x")])
    with pytest.raises(ConfigError, match=r'plugin "cost" .*attributes\[0\]\.expression: column 1'):
        assembled({"plugins": [block]})


# === who served ===


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ("10.0.0.1:8000", "10.0.0.1:8000"),
        (None, "fail: missing destination endpoint served metadata"),
        ("", "fail: missing destination endpoint served metadata"),
    ],
)
def test_the_client_is_told_who_served(served: str | None, expected: str) -> None:
    table = table_of([Gauges()])
    request = request_with(table)
    request.served = served
    result = ProfileResult("default", (0,), (table[0],), table.live, table.waiting[:1])
    verifier = ServedVerifier("v", None, wiring_of(table))
    assert isinstance(verifier, Responder)
    answer = verifier.respond(request, Decision(result, {}))
    assert answer == {"x-conformance-test-served-endpoint": expected}
