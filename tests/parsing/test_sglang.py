import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.sglang import SGLangHttp
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import split, wiring

PARSER: Parser = SGLangHttp("sglanghttp-parser", None, wiring())


def parsed(**fields: Any) -> Payload:
    return PARSER.parse("/generate", json.dumps(fields).encode())


NO_IDS: list[Any] = ["x", 1, [[1, 2]], [-1], [2**32], [1.5], [True], [None], {}]

# === requests ===


def test_the_fields_that_a_pick_needs_are_read() -> None:
    payload = parsed(
        input_ids=[3, 4294967295], stream=True, extra_key="tenant", sampling_params={"max_new_tokens": 8}
    )
    (prompt,) = payload.prompts
    assert isinstance(prompt, np.ndarray)
    assert prompt.tolist() == [3, 4294967295]
    assert payload.model is None
    assert (payload.stream, payload.cache_salt, payload.max_output_tokens) == (True, "tenant", 8)


def test_what_may_be_left_out() -> None:
    payload = parsed(input_ids=[1], extra_key=None, sampling_params=None)
    assert (payload.stream, payload.cache_salt, payload.max_output_tokens) == (False, "", None)


@pytest.mark.parametrize("value", [[{"max_new_tokens": 8}], {"max_new_tokens": "8"}, {}, 5])
def test_a_limit_in_another_shape_is_none(value: Any) -> None:
    assert parsed(input_ids=[1], sampling_params=value).max_output_tokens is None


def test_fields_of_other_apis_are_not_looked_at() -> None:
    assert parsed(input_ids=[1], cache_salt=5, model=7).cache_salt == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "invalid generate request: input_ids must be provided"),
        ({"text": "hi"}, "invalid generate request: input_ids must be provided"),
        ({"input_ids": None}, "invalid generate request: input_ids must be provided"),
        ({"input_ids": []}, "invalid generate request: input_ids cannot be empty"),
        *[
            ({"input_ids": wrong}, "invalid generate request: input_ids must be an array of uint32 integers")
            for wrong in NO_IDS
        ],
        *[
            (
                {"input_ids": [1], "extra_key": wrong},
                "unsupported generate request: extra_key must be a string",
            )
            for wrong in (1, ["a"], True)
        ],
    ],
)
def test_what_is_wrong_is_told(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parsed(**fields)
    assert refusal.value.message == text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input_ids":[1]', b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^error unmarshaling request bodyMap: "):
        PARSER.parse("/generate", body)


@pytest.mark.parametrize("path", ["/generate", "generate", "/generate/", "/generate?x=1"])
def test_the_path_is_this_one(path: str) -> None:
    assert PARSER.parse(path, b'{"input_ids":[1]}').prompts


@pytest.mark.parametrize("path", ["/v2/models/m/generate", "/xgenerate"])
def test_a_path_that_only_ends_like_it_is_refused(path: str) -> None:
    with pytest.raises(BadRequest, match=f"^unsupported path: {path}$"):
        PARSER.parse(path, b'{"input_ids":[1]}')


def test_no_name_is_put_into_a_body() -> None:
    assert PARSER.rewrite(b'{"input_ids":[1]}', "m") == b'{"input_ids":[1]}'


@given(st.binary(max_size=60) | st.from_regex(rb'\{"(input_ids|extra_key)":.{0,20}\}', fullmatch=True))
def test_any_bytes_are_a_payload_or_refused(body: bytes) -> None:
    try:
        payload = PARSER.parse("/generate", body)
    except BadRequest:
        return
    assert len(payload.prompts) == 1


# === responses ===


def meta(completion: int, reason: Any) -> bytes:
    counts = {
        "prompt_tokens": 7,
        "completion_tokens": completion,
        "cached_tokens": 4,
        "finish_reason": reason,
    }
    return json.dumps({"text": "x", "output_ids": [1], "meta_info": {"id": "r", **counts}}).encode()


def reported(data: bytes, *, streaming: bool, places: list[int] | None = None) -> Usage:
    reader = PARSER.usage(streaming=streaming)
    for chunk in split(data, places or []):
        reader.feed(chunk)
    return reader.finish()


def test_the_usage_of_a_document() -> None:
    document = meta(10, {"type": "stop", "matched": 2})
    assert reported(document, streaming=False) == Usage(7, 10, 4)
    assert reported(b"[%b]" % document, streaming=False) == Usage(7, 10, 4)


@given(st.lists(st.integers(0, 400), max_size=6))
def test_the_last_event_of_a_stream_counts(places: list[int]) -> None:
    events = (meta(1, None), meta(2, None), meta(3, {"type": "length", "length": 3}), b"[DONE]")
    data = b"".join(b"data: %b\n\n" % event for event in events)
    assert reported(data, streaming=True, places=places) == Usage(7, 3, 4)


def test_a_stream_that_broke_off_has_not_said_what_it_cost() -> None:
    assert reported(b"data: %b\n\n" % meta(1, None), streaming=True) == Usage()


def test_one_odd_number_does_not_spoil_the_others() -> None:
    odd = b'{"meta_info":{"prompt_tokens":"many","completion_tokens":3.0,"finish_reason":{"type":"stop"}}}'
    assert reported(odd, streaming=False) == Usage(None, 3, None)


@given(st.binary(max_size=60), st.booleans())
def test_any_response_gives_a_usage(data: bytes, streaming: bool) -> None:
    assert isinstance(reported(b'"meta_info":' + data, streaming=streaming), Usage)
