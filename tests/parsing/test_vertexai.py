import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.vertexai import VertexAI
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import split, wiring
from tests.fakes.protobuf import field, frame

PARSER: Parser = VertexAI("vertexai-parser", None, wiring())
SERVICE = "/google.cloud.aiplatform.v1.PredictionService"
CHAT, RAW, STREAM_RAW = (
    f"{SERVICE}/{name}" for name in ("ChatCompletions", "RawPredict", "StreamRawPredict")
)
ENDPOINT = field(1, "projects/p/locations/l/endpoints/e")


def wrapped(data: bytes) -> bytes:
    return frame(ENDPOINT + field(2, field(1, "application/json") + field(2, data)))


def parsed(path: str, **fields: Any) -> Payload:
    return PARSER.parse(path, wrapped(json.dumps(fields).encode()))


# === requests ===


def test_chat_is_read_as_openai_has_it() -> None:
    payload = parsed(CHAT, model="m", messages=[{"role": "user", "content": "hi"}], stream=True, max_tokens=3)
    assert (payload.model, payload.stream, payload.max_output_tokens) == ("m", True, 3)
    assert payload.prompts == (b"userhi",)


@pytest.mark.parametrize("path", [RAW, STREAM_RAW])
def test_raw_predictions_are_responses(path: str) -> None:
    payload = parsed(path, model="m", input="hello", max_output_tokens=4)
    assert (payload.prompts, payload.max_output_tokens) == ((b"hello",), 4)


def test_the_model_cannot_be_changed_and_may_be_missing() -> None:
    assert parsed(RAW, model="m", input="x").model_is_fixed
    assert parsed(RAW, input="x").model is None
    assert PARSER.rewrite(wrapped(b"{}"), "other") == wrapped(b"{}")


def test_other_methods_are_not_read() -> None:
    assert PARSER.parse(f"{SERVICE}/Predict", b"?") == Payload()


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        (CHAT, b"", "^invalid or unsupported gRPC payload: "),
        (
            CHAT,
            frame(b"", compressed=True),
            "^invalid or unsupported gRPC payload: the message is compressed",
        ),
        (CHAT, frame(b"\xff"), "^invalid or unsupported gRPC payload: "),
        (CHAT, frame(ENDPOINT), "^ChatCompletionsRequest has no HttpBody$"),
        (STREAM_RAW, frame(b""), "^StreamRawPredictRequest has no HttpBody$"),
        (CHAT, wrapped(b"{"), "^parsing ChatCompletionsRequest: error unmarshaling request bodyMap: "),
        (
            CHAT,
            wrapped(b"{}"),
            "^parsing ChatCompletionsRequest: "
            "invalid chat completions request: must have valid messages field$",
        ),
        (
            RAW,
            wrapped(b"{}"),
            "^parsing RawPredictRequest: invalid responses request: must have input field$",
        ),
    ],
)
def test_what_is_wrong_is_told(path: str, body: bytes, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        PARSER.parse(path, body)


@given(st.sampled_from([CHAT, RAW, STREAM_RAW]), st.binary(max_size=60), st.integers(0, 2))
def test_any_bytes_are_a_payload_or_refused(path: str, data: bytes, shells: int) -> None:
    body = (data, frame(data), wrapped(data))[shells]
    try:
        payload = PARSER.parse(path, body)
    except BadRequest:
        return
    assert payload.prompts


# === responses ===

USAGE = {"prompt_tokens": 7, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}}


def answer(data: bytes) -> bytes:
    return frame(field(1, "application/json") + field(2, data))


def reported(data: bytes, places: list[int]) -> Usage:
    reader = PARSER.usage(streaming=True)
    for chunk in split(data, places):
        reader.feed(chunk)
    return reader.finish()


@given(st.lists(st.integers(0, 300), max_size=5))
def test_the_usage_of_a_document(places: list[int]) -> None:
    assert reported(answer(json.dumps({"usage": USAGE}).encode()), places) == Usage(7, 10, 4)


def test_each_message_may_be_a_document() -> None:
    first = answer(b'{"choices":[{"delta":{}}]}')
    assert reported(first + answer(json.dumps({"usage": USAGE}).encode()), []) == Usage(7, 10, 4)


@given(st.lists(st.integers(0, 300), max_size=5))
def test_messages_may_be_parts_of_a_stream_of_events(places: list[int]) -> None:
    events = b'data: {"usage":null}\n\ndata: %b\n\ndata: [DONE]\n\n' % json.dumps({"usage": USAGE}).encode()
    data = answer(events[:30]) + answer(events[30:])
    assert reported(data, places) == Usage(7, 10, 4)


@given(st.binary(max_size=60), st.integers(0, 2))
def test_any_response_gives_a_usage(data: bytes, shells: int) -> None:
    assert isinstance(reported((data, frame(data), answer(data))[shells], []), Usage)
