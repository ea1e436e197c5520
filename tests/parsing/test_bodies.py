import json
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload
from endpoint_picker.parsing.anthropic import Anthropic
from endpoint_picker.parsing.bodies import count, string, without_lone_surrogates
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.vllm import VllmHttp
from endpoint_picker.plugin import Parser, Wiring
from tests.fakes.parsing import wiring

KEYS = re.findall(
    r"\w+",
    """model stream messages role content text type image_url url prompt input items tools instructions
    metadata cache_salt max_tokens system source token_ids features mm_hashes mm_placeholders offset length
    tool_calls sampling_params""",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/conversations",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/messages",
    "/inference/v1/generate",
)


def parser_for(path: str, wiring: Wiring) -> Parser:
    if path.endswith("messages"):
        return Anthropic("a", None, wiring)
    return (VllmHttp if path.endswith("generate") else OpenAI)("p", None, wiring)


def outcome(path: str, body: bytes) -> Payload | str:
    """The payload, or the text for the client."""
    try:
        return parser_for(path, wiring()).parse(path, body)
    except BadRequest as refusal:
        return refusal.message


@given(st.sampled_from(PATHS), JSON)
@settings(max_examples=300, deadline=None)
def test_any_document_gives_a_payload_or_a_refusal(path: str, document: object) -> None:
    assert isinstance(outcome(path, json.dumps(document).encode()), Payload | str)


@given(
    st.sampled_from(PATHS),
    st.sampled_from(
        [
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}',
            b'{"model":"m","prompt":["a","\\ud83d\\ude00"],"max_tokens":7}',
            b'{"token_ids":[1,2,3],"sampling_params":{"max_tokens":1e2}}',
        ]
    ),
    st.lists(st.tuples(st.integers(0, 90), st.binary(max_size=3)), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_a_damaged_body_gives_a_payload_or_a_refusal(
    path: str, body: bytes, damages: list[tuple[int, bytes]]
) -> None:
    for place, damage in damages:
        body = body[:place] + damage + body[place + len(damage) :]
    result = outcome(path, body)
    if isinstance(result, Payload):
        for prompt in result.prompts:
            if isinstance(prompt, bytes):
                prompt.decode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no healthy upstream", "invalid character 'o' in literal null (expecting 'u')"),
        (b'{"prompt": nope}', "invalid character 'o' in literal null (expecting 'u')"),
        (b'{"text":"\\" no","x":trie}', "invalid character 'i' in literal true (expecting 'u')"),
        (b'{"x":fal\'e}', "invalid character '\\'' in literal false (expecting 's')"),
        (b'{"x":[tr"e]}', "invalid character '\"' in literal true (expecting 'u')"),
    ],
)
def test_a_broken_literal_is_told_in_the_familiar_words(body: bytes, reason: str) -> None:
    assert outcome("/v1/completions", body) == f"error unmarshaling request bodyMap: {reason}"


def test_the_first_mistake_is_told() -> None:
    told = outcome("/v1/completions", b'{"x":-,"y":nope}')
    assert isinstance(told, str)
    assert "byte 6" in told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"{} x",
        b'{"prompt": NaN}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "a\nb"}',
        b'{"prompt": 5, "x": }',
        b'{"prompt": "x", "y": nul',
        b'{"prompt":"x","y":' + b"[" * 100_000,
        b'{"prompt":"' + b'\\"' * 50_000 + b'\\q"}',
    ],
)
def test_what_is_no_json_object_is_malformed_whatever_else_is_wrong(body: bytes) -> None:
    result = outcome("/v1/completions", body)
    assert isinstance(result, str)
    assert result.startswith("error unmarshaling request bodyMap: ")
    assert len(result) < 200


def test_deep_nesting_is_named() -> None:
    body = b'{"messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert outcome("/v1/messages", body) == "error unmarshaling request body: nested too deeply"


def test_half_a_surrogate_pair_is_replaced_and_the_rest_is_kept() -> None:
    body = b'{"model":"m","prompt":"a\\ud83d b\\\\ud83d \\uD83D\\uDE00 \\u00e9"}'
    result = outcome("/v1/completions", body)
    assert isinstance(result, Payload)
    assert result.prompts == ("a\ufffd b\\ud83d 😀 é".encode(),)


@given(st.text(alphabet=st.sampled_from('a\\"u\ud83d\ude00\ud8ff\udcfeé'), max_size=12))
@settings(max_examples=200, deadline=None)
def test_replacing_surrogates_keeps_the_length_and_leaves_proper_text(text: str) -> None:
    body = json.dumps(text).encode()
    readable = without_lone_surrogates(body)
    assert len(readable) == len(body)
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert json.loads(readable) == expected


@pytest.mark.parametrize("extra", [b'"model":7', b'"model":null', b'"model":""', b'"x":1'])
def test_a_model_that_is_no_name_is_none(extra: bytes) -> None:
    result = outcome("/v1/completions", b'{"prompt":"x",%b}' % extra)
    assert isinstance(result, Payload)
    assert result.model == ""


def test_of_repeated_keys_the_last_counts() -> None:
    result = outcome("/v1/completions", b'{"model":"a","prompt":"x","model":"b"}')
    assert isinstance(result, Payload)
    assert result.model == "b"


@pytest.mark.parametrize(("stream", "expected"), [(b"true", True), (b"false", False), (b'"true"', False)])
def test_only_true_streams(stream: bytes, expected: bool) -> None:
    result = outcome("/v1/completions", b'{"prompt":"x","stream":%b}' % stream)
    assert isinstance(result, Payload)
    assert result.stream is expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((b"0", b"5"), 0),
        ((b"", b"5"), 5),
        ((b"null", b"5"), 5),
        ((b"-1", b"1e2"), 100),
        ((b"1.5", b"7.0"), 7),
        ((b'"3"', b"[]"), None),
        ((b"9007199254740992",), 9007199254740992),
        ((b"9007199254740993", b"1e400", b"9" * 5000), None),
    ],
)
def test_the_first_whole_number_counts(values: tuple[bytes, ...], expected: int | None) -> None:
    assert count(*map(msgspec.Raw, values)) == expected


def test_a_raw_value_is_a_string_only_where_it_is_one() -> None:
    assert string(msgspec.Raw(b'"a\\n"')) == "a\n"
    assert string(msgspec.Raw(b"5")) is None
    assert string(msgspec.Raw(b"")) is None
    assert string(msgspec.Raw(b'"\xff"')) is None
