import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import recorded, wiring

PARSER: Parser = OpenAI("openai", None, wiring())
CHAT = "/v1/chat/completions"


def parsed(path: str, **fields: Any) -> Payload:
    return PARSER.parse(path, json.dumps({"model": "m", **fields}).encode())


def text(path: str, **fields: Any) -> bytes:
    (prompt,) = parsed(path, **fields).prompts
    assert isinstance(prompt, bytes)
    return prompt


def refusal(path: str, **fields: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        parsed(path, **fields)
    return caught.value.message


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_the_fields_that_a_pick_needs_are_read() -> None:
    payload = parsed(
        CHAT, messages=[user("hi")], stream=True, cache_salt="s", max_tokens=5, max_completion_tokens=0
    )
    assert payload == Payload("m", True, (b"userhi",), "s", 0)


def test_a_chat_is_one_prompt_of_tools_then_role_and_text_of_each_message() -> None:
    body = (
        b'{"messages":[{"role":"system","content":"be \\u00e9"},'
        b'{"content":null},{"role":"user","content":[{"type":"text","text":"a"},{"text":"b"}]}],'
        b'"tools":[ {"type": "function"} ],"model":"m"}'
    )
    assert PARSER.parse(CHAT, body).prompts == ('[ {"type": "function"} ]systembe éuserab'.encode(),)


def test_a_tool_call_is_part_of_the_prompt() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    assert text(CHAT, messages=[call]) == b'assistant[{"function": {"name": "f"}}]'


@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url", "input_audio"])
def test_other_media_are_another_prompt_of_the_same_short_length(kind: str) -> None:
    field = "data" if kind == "input_audio" else "url"
    one, same, other = (
        text(CHAT, messages=[user([{"type": kind, kind: {field: "x" * 9999 + end}}])]) for end in "aab"
    )
    assert one == same
    assert one != other
    assert len(one) == len(other) < 60


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "tool"]),
            "content": st.none()
            | st.text(max_size=10)
            | st.lists(
                st.text(max_size=5).map(lambda words: {"type": "text", "text": words})
                | st.text(max_size=5).map(image),
                max_size=3,
            ),
        }
    ),
    min_size=1,
    max_size=4,
)


@given(MESSAGES, MESSAGES)
@settings(max_examples=100, deadline=None)
def test_chats_that_begin_alike_have_prompts_that_begin_alike(
    shared: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    assert text(CHAT, messages=shared + more).startswith(text(CHAT, messages=shared))


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"tools": None, "documents": None, "chat_template": None, "chat_template_kwargs": None}, True),
        ({"tools": [], "documents": [], "chat_template": "", "chat_template_kwargs": {}}, True),
        ({"add_generation_prompt": True, "continue_final_message": None}, True),
        ({"tools": {}}, False),
        ({"tools": "x"}, False),
        ({"documents": {}}, False),
        ({"chat_template": []}, False),
        ({"chat_template_kwargs": []}, False),
        ({"add_generation_prompt": "yes"}, False),
        ({"cache_salt": 5}, False),
        ({"messages": []}, False),
        ({"messages": None}, False),
        ({"messages": "x"}, False),
        ({"messages": ["x"]}, False),
        ({"messages": [{"role": 5}]}, False),
        ({"messages": [user({})]}, False),
        ({"messages": [user(["x"])]}, False),
        ({"messages": [user([{"image_url": "x"}])]}, False),
        ({"messages": [user([{"image_url": {"url": 5}}])]}, False),
        ({"messages": [{"tool_calls": {}}]}, False),
    ],
)
def test_a_chat_that_does_not_fit_is_refused_with_one_text(fields: dict[str, Any], accepted: bool) -> None:
    if accepted:
        assert text(CHAT, **{"messages": [user("hi")], **fields})
    else:
        told = refusal(CHAT, **{"messages": [user("hi")], **fields})
        assert told == "invalid chat completions request: must have valid messages field"


def test_each_text_of_a_list_is_a_prompt_of_its_own() -> None:
    assert parsed("/v1/completions", prompt=["a", ""]).prompts == (b"a", b"")
    assert parsed("/v1/embeddings", input="é").prompts == ("é".encode(),)


@pytest.mark.parametrize(("path", "field"), [("/v1/completions", "prompt"), ("/v1/embeddings", "input")])
def test_a_list_of_ids_is_one_prompt(path: str, field: str) -> None:
    (prompt,) = parsed(path, **{field: [0, 7, 2**32 - 1]}).prompts
    assert isinstance(prompt, np.ndarray)
    assert prompt.dtype == np.uint32
    assert prompt.tolist() == [0, 7, 2**32 - 1]


@pytest.mark.parametrize(
    "value", [None, "", [], {}, 5, [[1]], [1, "a"], ["a", 1], [-1], [2**32], [1.5], [True]]
)
def test_a_prompt_of_another_kind_is_refused(value: Any) -> None:
    assert refusal("/v1/completions", prompt=value) == "invalid completions request: must have prompt field"
    assert refusal("/v1/embeddings", input=value) == "invalid embeddings request: must have input field"


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("/v1/responses", {"input": None}, "invalid responses request: must have input field"),
        ("/v1/conversations", {"items": []}, "invalid conversations request: must have items field"),
        ("/v1/conversations", {"items": ["x"]}, "invalid conversations request: must have items field"),
        (
            "/v1/conversations",
            {"items": [{}], "metadata": []},
            "invalid conversations request: must have items field",
        ),
        (
            "/v1/images/generations",
            {"prompt": ""},
            "invalid images generations request: must have prompt field",
        ),
        (
            "/v1/images/generations",
            {"prompt": "x", "n": "2"},
            "invalid images generations request: must have prompt field",
        ),
        (
            "/v1/chat/completions/render",
            {},
            "invalid chat completions request: must have valid messages field",
        ),
        ("/v1/completions/render", {}, "invalid completions request: must have prompt field"),
        ("/anything", {}, "invalid completions request: must have prompt field"),
    ],
)
def test_each_api_names_what_it_needs(path: str, fields: dict[str, Any], told: str) -> None:
    assert refusal(path, **fields) == told


def test_responses_read_instructions_and_items() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "name": "f"},
    ]
    payload = parsed("/v1/responses?x=1", input=items, instructions="be", tools=[1], max_output_tokens=9)
    assert payload.prompts == (b'[1]beuserhi{"type": "function_call", "name": "f"}',)
    assert payload.max_output_tokens == 9


def test_conversations_and_images_have_prompts() -> None:
    assert (
        text("/v1/conversations/", items=[{"type": "message", "role": "user", "content": "hi"}]) == b"userhi"
    )
    assert text("/v1/images/generations", prompt="a cat", n=2, size="1x1") == b"a cat"


def test_only_the_model_is_rewritten() -> None:
    assert PARSER.rewrite(b'{ "model" : "a", "n": 1.0 }', "b") == b'{ "model" : "b", "n": 1.0 }'


@pytest.mark.parametrize(
    ("name", "streaming", "expected"),
    [
        ("completion", False, Usage(256, 8, 0)),
        ("chat_stream_usage", True, Usage(209, 4, 192)),
        ("completion_stream_usage_continuous", True, Usage(256, 3, 224)),
        ("completion_stream", True, Usage()),
    ],
)
def test_recorded_responses_report_their_usage(name: str, streaming: bool, expected: Usage) -> None:
    reader = PARSER.usage(streaming=streaming)
    reader.feed(recorded(name))
    assert reader.finish() == expected
