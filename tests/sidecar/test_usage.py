"""Cached tokens in answers: put right wherever the chunks begin and end, and nothing else touched."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.parsing.legs import Api
from endpoint_picker.sidecar import usage
from endpoint_picker.sidecar.usage import Rewriter

SSE = "text/event-stream; charset=utf-8"
DOCUMENT = "application/json"


def fed(rewriter: Rewriter | None, whole: bytes, cuts: list[int]) -> bytes:
    assert rewriter is not None
    places = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    parts = [whole[start:end] for start, end in itertools.pairwise(places)]
    return b"".join(map(rewriter.feed, parts)) + rewriter.end()


def rewritten(whole: bytes, kind: str = SSE, api: Api = Api.CHAT, cuts: tuple[int, ...] = ()) -> bytes:
    return fed(usage.rewriter(api, kind, 5), whole, list(cuts))


EVENTS = st.lists(
    st.sampled_from(
        [
            b'data: {"choices":[{"text":"\\"usage\\": {}"}]}\n\n',
            b'data: {"usage": {"a": 1.0, "prompt_tokens_details": {"cached_tokens": 9, "x": 1}}}\n\n',
            b'data:{"id":"a", "usage":{"prompt_tokens":1,"prompt_tokens_details":null}}\r\n\r\n',
            b'data: {"usage":null}\n\n',
            b'data: {"a":{"usage":{}}}\n\n',
            b': {"usage":{}}\n',
            b"event: usage\ndata: {broken usage}\n\n",
            b"data: [DONE]\n\n",
            b"\n",
            b'data: {"usage":{}}',
        ]
    ),
    max_size=8,
)


@given(EVENTS, st.lists(st.integers(0, 10_000), max_size=9))
def test_any_split_of_a_stream_gives_the_same(events: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(events)
    assert rewritten(whole, cuts=tuple(cuts)) == rewritten(whole)


@given(st.lists(st.integers(0, 10_000), max_size=9))
def test_any_split_of_a_document_gives_the_same(cuts: list[int]) -> None:
    whole = b'{"id": "a", "choices": [1.50], "usage": {"prompt_tokens": 3}}'
    told = rewritten(whole, DOCUMENT, cuts=tuple(cuts))
    details = {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    assert json.loads(told) == {"id": "a", "choices": [1.5], "usage": details}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'data: {"a": 1.50,"usage":{"x":2}}\n',
            b'data: {"a":1.50,"usage":{"x":2,"prompt_tokens_details":{"cached_tokens":5}}}\n',
        ),
        (b'data:{"usage":{}}\r\n', b'data:{"usage":{"prompt_tokens_details":{"cached_tokens":5}}}\r\n'),
        (b'data: {"usage":7}\n', b'data: {"usage":7}\n'),
        (b'id: {"usage":{}}\n', b'id: {"usage":{}}\n'),
        (b'data: {"usage":{},\n', b'data: {"usage":{},\n'),
        (b'data: {"choices":[ {"usage":{}} ]}\n', b'data: {"choices":[ {"usage":{}} ]}\n'),
    ],
)  # fmt: skip
def test_only_a_usage_at_the_top_is_changed(line: bytes, expected: bytes) -> None:
    assert rewritten(line) == expected


def test_whole_lines_wait_for_nothing() -> None:
    rewriter = usage.rewriter(Api.CHAT, SSE, 5)
    assert rewriter is not None
    assert rewriter.feed(b'data: {"a":1}\n\ndata: {') == b'data: {"a":1}\n\n'


def test_what_is_too_long_passes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "LONGEST_LINE", 40)
    monkeypatch.setattr(usage, "LARGEST_DOCUMENT", 40)
    long = b'data: {"usage":{"x":"%b"}}\n' % (b"y" * 40)
    short = b'data: {"usage":{}}\n'
    for cuts in ((), (3,), (41, 50), tuple(range(100))):
        told = rewritten(long + short, cuts=cuts)
        assert told.startswith(long)
        assert json.loads(told[len(long) + 6 :])["usage"]
        assert rewritten(long[6:], DOCUMENT, cuts=cuts) == long[6:]


@pytest.mark.parametrize(
    ("api", "kind", "changed"),
    [
        (Api.COMPLETIONS, SSE, "prompt_tokens_details"),
        (Api.GENERATE, SSE, "prompt_tokens_details"),
        (Api.RESPONSES, SSE, "input_tokens_details"),
        (Api.MESSAGES, SSE, None),
        (Api.CHAT, "text/html", None),
    ],
)
def test_each_api_says_it_in_its_own_place(api: Api, kind: str, changed: str | None) -> None:
    rewriter = usage.rewriter(api, kind, 5)
    if changed is None:
        assert rewriter is None
        return
    told: Any = json.loads(fed(rewriter, b'data: {"usage":{}}\n', [])[6:])
    assert told == {"usage": {changed: {"cached_tokens": 5}}}
