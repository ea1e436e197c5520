import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.request import Usage
from endpoint_picker.parsing.usage import LARGEST_DOCUMENT, anthropic, merged, openai, reader
from tests.fakes.parsing import recorded, split

BIG = b'{"data":[' + b"0.123456789," * 200_000 + b"1],"


def document(*chunks: bytes) -> Usage:
    found = reader(openai, streaming=False)
    for chunk in chunks:
        found.feed(chunk)
    return found.finish()


def stream(*chunks: bytes) -> Usage:
    found = reader(openai, streaming=True)
    for chunk in chunks:
        found.feed(chunk)
    return found.finish()


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, Usage(7, 3)),
        (
            {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}},
            Usage(7, 3, 2),
        ),
        ({"prompt_tokens": "7", "completion_tokens": " 3"}, Usage(7)),
        ({"prompt_tokens": 7.0, "prompt_tokens_details": None}, Usage(7)),
        ({"prompt_tokens": -1, "completion_tokens": 2}, Usage(None, 2)),
        ({"prompt_tokens": [], "completion_tokens": 0, "prompt_tokens_details": []}, Usage(None, 0)),
        ({}, Usage()),
        (None, Usage()),
        (5, Usage()),
    ],
)
def test_a_document_reports_what_it_can(usage: Any, expected: Usage) -> None:
    assert document(json.dumps({"object": "x", "usage": usage}).encode()) == expected


def test_the_final_event_of_a_response_carries_its_usage_inside() -> None:
    inner = {"usage": {"input_tokens": 5, "output_tokens": 2}}
    assert stream(event(type="response.completed", response=inner)) == Usage(5, 2)
    assert stream(event(type="response.created", response=inner)) == Usage()
    assert stream(event(type="response.completed", response="usage")) == Usage()


def test_of_repeated_numbers_the_last_counts() -> None:
    numbers = [event(usage={"prompt_tokens": 9, "completion_tokens": count}) for count in (1, 2, 3)]
    assert stream(*numbers, event(usage=None), b"data: [DONE]\n\n") == Usage(9, 3)


def test_numbers_are_merged_and_zero_overwrites_nothing() -> None:
    assert merged(Usage(5, None, 2), Usage(0, 0, 3)) == Usage(5, 0, 3)
    assert merged(Usage(), Usage(1)) == Usage(1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("completion_stream", Usage()),
        ("completion_stream_usage", Usage(256, 5, 224)),
        ("completion_stream_usage_continuous", Usage(256, 3, 224)),
        ("chat_stream_usage", Usage(209, 4, 192)),
    ],
)
def test_every_split_of_a_recorded_stream_gives_the_same_usage(name: str, expected: Usage) -> None:
    data = recorded(name)
    assert stream(data) == expected
    for place in range(0, len(data), 3):
        assert stream(data[:place], data[place:]) == expected
    for size in (1, 2, 7, 64):
        assert stream(*(data[at : at + size] for at in range(0, len(data), size))) == expected


@given(st.lists(st.integers(0, 5000), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
@settings(max_examples=60, deadline=None)
def test_any_split_with_any_line_end_gives_the_same_usage(places: list[int], end: bytes) -> None:
    data = recorded("completion_stream_usage").replace(b"\n", end)
    assert stream(*split(data, places)) == Usage(256, 5, 224)


@pytest.mark.parametrize(("name", "expected"), [("completion", Usage(256, 8, 0)), ("chat", Usage(209, 5, 0))])
def test_a_recorded_document_may_come_in_parts(name: str, expected: Usage) -> None:
    data = recorded(name)
    for place in range(0, len(data), 7):
        assert document(data[:place], data[place:]) == expected


@pytest.mark.parametrize("size", [4096, 1 << 16, 1 << 24])
def test_the_usage_at_either_end_of_a_large_document_is_found(size: int) -> None:
    usage = b'"usage":{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}'
    assert len(BIG) > 2 * LARGEST_DOCUMENT
    for whole in (BIG + usage + b"}", b"{" + usage + b"," + BIG[1:-1] + b"}"):
        assert document(*(whole[at : at + size] for at in range(0, len(whole), size))) == Usage(7, None, 4)


def test_a_large_document_without_usage_reports_nothing() -> None:
    assert document(BIG + b'"s":"\\"usage\\":{\\"prompt_tokens\\":7}"}') == Usage()


def test_a_document_that_broke_off_reports_what_it_had_said() -> None:
    assert document(b'{"usage": {"prompt_tokens":7,"x":{}},"choices":[{"te') == Usage(7)
    assert document(b'{"usage": {"prompt_tokens":7') == Usage()


def test_memory_for_a_document_is_bounded() -> None:
    found = reader(openai, streaming=False)
    tracemalloc.start()
    for _ in range(100):
        found.feed(b"x" * 100_000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * LARGEST_DOCUMENT


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b'"usage":{', b"data: ", b"\n\n", b"}"]), max_size=9)
)
@settings(max_examples=200, deadline=None)
def test_malformed_data_is_survived(chunks: list[bytes]) -> None:
    for dialect in (openai, anthropic):
        for streaming in (True, False):
            found = reader(dialect, streaming=streaming)
            for chunk in chunks:
                found.feed(chunk)
            assert isinstance(found.finish(), Usage)


@pytest.mark.parametrize(
    "body",
    [
        b'{"usage":[' + b"[" * 50_000,
        b'{"usage":{"prompt_tokens":"' + b"9" * 10_000 + b'"}}',
        b'{"usage":{"prompt_tokens":' + b"9" * 10_000 + b"}}",
        b'{"usage":{"prompt_tokens_details":{"cached_tokens":{}}}}',
        b'{"type":"message_start","message":[],"usage":{}}',
        b'{"type":"message_start"}',
    ],
)
def test_odd_usage_counts_as_none(body: bytes) -> None:
    for dialect in (openai, anthropic):
        for data, streaming in ((body, False), (b"data: " + body + b"\n\n", True)):
            found = reader(dialect, streaming=streaming)
            found.feed(data)
            assert found.finish() == Usage()
