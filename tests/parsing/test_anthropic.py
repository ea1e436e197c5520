import json
from typing import Any

import pytest

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.anthropic import Anthropic
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import wiring

PARSER: Parser = Anthropic("anthropic", None, wiring())


def parsed(**fields: Any) -> Payload:
    return PARSER.parse("/v1/messages?beta=true", json.dumps({"model": "m", **fields}).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def refusal(path: str, body: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        PARSER.parse(path, body)
    return caught.value.message


def test_the_fields_that_a_pick_needs_are_read() -> None:
    payload = parsed(messages=[user("hi")], system="be", tools=[1], stream=True, max_tokens=3, cache_salt="s")
    assert payload == Payload("m", True, (b"[1]beuserhi",), "s", 3)


def test_tool_calls_and_their_results_are_part_of_the_prompt() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "tool_use", "name": "f", "input": {"a": 1}},
        {"type": "tool_result", "content": [{"type": "text", "text": "42"}]},
        {"type": "tool_result", "content": "43"},
    ]
    assert parsed(messages=[user(blocks)]).prompts == (b'userhmf{"a": 1}4243',)


def test_a_marker_that_moves_leaves_the_prompt_as_it_is() -> None:
    plain = {"type": "text", "text": "a"}
    marked = {**plain, "cache_control": {"type": "ephemeral"}}
    assert parsed(messages=[user([marked, plain])]) == parsed(messages=[user([plain, marked])])
    assert parsed(messages=[user([plain])], system=[marked]).prompts == (b"ausera",)


def test_other_images_are_another_prompt() -> None:
    one, same, other = (
        parsed(messages=[user([{"type": "image", "source": {"data": data}}])]) for data in "aab"
    )
    assert one == same
    assert one.prompts != other.prompts


def test_a_body_to_be_counted_is_not_read() -> None:
    assert PARSER.parse("/v1/messages/count_tokens", b"\xff") == Payload(model=None)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/messages", b'{"messages":[]}', "invalid messages request: must have at least one message"),
        ("/v1/messages", b"{}", "invalid messages request: must have at least one message"),
        (
            "/v1/messages",
            b'{"messages":"x"}',
            "error parsing messages request: Expected `array | null`, got `str` - at `$.messages`",
        ),
        (
            "/v1/messages",
            b"nope",
            "error unmarshaling request body: invalid character 'o' in literal null (expecting 'u')",
        ),
        ("/v1/xmessages", b"{}", "unsupported API endpoint: /v1/xmessages"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(path: str, body: bytes, told: str) -> None:
    assert refusal(path, body) == told


@pytest.mark.parametrize(
    "wrong", [{"system": 5}, {"tools": {}}, {"messages": [user([5])]}, {"cache_salt": 1}]
)
def test_a_field_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    body = json.dumps({"messages": [user("x")], **wrong}).encode()
    assert refusal("/v1/messages", body).startswith("error parsing messages request: ")


def test_results_inside_of_results_come_to_an_end() -> None:
    body = b'{"messages":[{"content":' + b'[{"content":' * 400 + b'"x"' + b"}]" * 400 + b"}]}"
    try:
        assert PARSER.parse("/v1/messages", body).prompts == (b"x",)
    except BadRequest as told:
        assert "nested too deeply" in told.message  # noqa: PT017 - either answer will do


def test_only_the_model_is_rewritten() -> None:
    assert PARSER.rewrite(b'{"messages":[],"model":"a"}', "b") == b'{"messages":[],"model":"b"}'


def test_a_stream_reports_its_input_first_and_its_output_last() -> None:
    reader = PARSER.usage(streaming=True)
    for event in (
        {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 5, "cache_read_input_tokens": 0}},
        {"type": "message_delta", "usage": {"output_tokens": 7, "input_tokens": 0}},
        {"type": "message_stop"},
    ):
        reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    assert reader.finish() == Usage(9, 7, 0)


def test_the_output_that_a_stream_begins_with_is_no_number() -> None:
    reader = PARSER.usage(streaming=True)
    reader.feed(
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
    )
    assert reader.finish() == Usage(9)


def test_a_document_reports_its_usage() -> None:
    reader = PARSER.usage(streaming=False)
    reader.feed(b'{"usage":{"input_tokens":9,"output_tokens":2,"cache_read_input_tokens":4}}')
    assert reader.finish() == Usage(9, 2, 4)
