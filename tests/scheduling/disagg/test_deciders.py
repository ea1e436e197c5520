"""Deciders: what they say, and what they say of configurations that make no sense."""

import logging
from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.attributes import PrefixMatch, TokenizedPrompt, prefix_match, tokenized_prompt
from endpoint_picker.core.endpoints import EndpointTable, Gauges
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Medium, Payload, Request
from endpoint_picker.scheduling.disagg.deciders import Always, ByPrefix, WithMedia
from endpoint_picker.testing import check_plugin, make, request_with, table_of

TABLE = table_of([Gauges()] * 3)
BLOCK = 16


def asking(
    tokens: int | None, held: int | None, *, producer: str = "approx-prefix-cache-producer"
) -> Request:
    """A prompt of so many tokens, of which row 1 holds so many blocks of 16; None: not known."""
    request = request_with(TABLE)
    if tokens is not None:
        ids = np.zeros(tokens, np.uint32)
        request.attributes.write(tokenized_prompt(), TokenizedPrompt((ids,), tokens))
    if held is not None:
        blocks = np.zeros(TABLE.capacity, np.int64)
        blocks[1] = held
        request.attributes.write(prefix_match(producer), PrefixMatch(blocks, 100, BLOCK))
    return request


def says(request: Request, row: int | None = 1, **parameters: Any) -> bool:
    return make(ByPrefix, TABLE, **parameters).decide(request, row)


@pytest.mark.parametrize(
    ("tokens", "held", "least", "answer"),
    [
        # 100 tokens less 2 blocks of 16 are 68.
        (100, 2, 68, True),
        (100, 2, 69, False),
        (100, 0, 100, True),
        (100, 0, 101, False),
        (15, 0, 16, False),
        (16, 0, 16, True),
        # 7 blocks are 112: more than the prompt has.
        (100, 7, 1, False),
        (0, 0, 1, False),
        # Never.
        (100_000, 0, 0, False),
        # Nothing is known of the prompt, or of what is held.
        (None, 0, 1, False),
        (100, None, 1, False),
    ],
)
def test_what_is_not_held_is_weighed(tokens: int | None, held: int | None, least: int, answer: bool) -> None:
    assert says(asking(tokens, held), nonCachedTokens=least) == answer


@pytest.mark.parametrize(("floor", "answer"), [(0, True), (99, True), (100, True), (101, False)])
def test_short_prompts_stay(floor: int, answer: bool) -> None:
    assert says(asking(100, 0), nonCachedTokens=10, promptTokens=floor) == answer


def test_the_endpoint_that_decodes_counts() -> None:
    request = asking(100, 6)
    assert not says(request, 1, nonCachedTokens=16)
    assert says(request, 2, nonCachedTokens=16)
    assert not says(request, None, nonCachedTokens=16)


def test_an_endpoint_that_came_after_the_match_is_not_known() -> None:
    assert not says(asking(100, 0), TABLE.capacity, nonCachedTokens=16)


def test_the_producer_that_is_named_counts() -> None:
    request = asking(100, 0, producer="exact")
    assert says(request, nonCachedTokens=16, prefixMatchInfoProducerName="exact")
    assert not says(request, nonCachedTokens=16)


def test_a_missing_match_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert not says(asking(100, None), nonCachedTokens=16)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "PrefixCacheMatchInfo/approx-prefix-cache-producer is missing" in record.getMessage()


def test_a_prompt_that_is_too_short_anyway_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    assert not says(asking(10, None), nonCachedTokens=16)
    assert caplog.records == []


def test_nothing_ever_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    make(ByPrefix, EndpointTable())
    assert "nonCachedTokens is 0, so nothing is ever prefilled elsewhere" in caplog.text


@pytest.mark.parametrize("key", ["nonCachedTokens", "promptTokens"])
def test_less_than_nothing_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is -1; write a number of tokens, 0 or more"):
        make(ByPrefix, TABLE, **{key: -1})


@pytest.mark.parametrize("row", [0, None])
def test_always_is_always(row: int | None) -> None:
    assert make(Always, TABLE, junk=1).decide(request_with(TABLE), row)


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
@pytest.mark.parametrize("row", [0, None])
def test_media_are_encoded_elsewhere(modality: str, row: int | None) -> None:
    decider, request = make(WithMedia, TABLE), request_with(TABLE)
    assert not decider.decide(request, row)
    request.payload = Payload("m", prompts=(b"text",), media=(Medium(modality, b"12345678"),))
    assert decider.decide(request, row)


def test_the_laws_hold_where_something_is_decided() -> None:
    check_plugin(ByPrefix, nonCachedTokens=1)
