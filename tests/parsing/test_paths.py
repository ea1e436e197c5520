import logging
from collections.abc import Sequence

import pytest

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.parsing.anthropic import Anthropic
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.passthrough import Passthrough
from endpoint_picker.parsing.paths import Registry, trimmed
from endpoint_picker.parsing.vllm import VllmHttp
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import wiring


class Claiming(Passthrough):
    """A parser of a type of its own that claims what it is told."""

    def __init__(self, kind: str, *suffixes: str) -> None:
        super().__init__(kind, None, wiring())
        self._claimed = suffixes
        self.type = kind  # type: ignore[misc]

    @property
    def suffixes(self) -> Sequence[str]:  # type: ignore[override]
        return self._claimed


OPENAI, ANTHROPIC, VLLM, REST = (
    kind(kind.type, None, wiring()) for kind in (OpenAI, Anthropic, VllmHttp, Passthrough)
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", OPENAI),
        ("/v1/completions/", OPENAI),
        ("/v1/completions?stream=/v1/messages", OPENAI),
        (" /openai/v1/embeddings// ", OPENAI),
        ("/v1/chat/completions/render", OPENAI),
        ("completions", OPENAI),
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages/count_tokens/?beta=true", ANTHROPIC),
        ("/inference/v1/generate", VLLM),
        ("/generate", REST),
        ("/v1/models", REST),
        ("/", REST),
        ("", REST),
        ("/" + "x" * 100_000, REST),
        ("/" + "x" * 100_000 + "/messages", ANTHROPIC),
    ],
)
def test_the_end_of_the_path_decides(path: str, expected: Parser) -> None:
    registry = Registry([OPENAI, ANTHROPIC, VLLM, REST])
    assert registry.resolve(path) is expected
    assert registry.resolve(path) is expected


def test_the_longest_suffix_wins_and_then_the_first_parser() -> None:
    short, long, late = Claiming("a", "gen"), Claiming("b", "/v1/gen/"), Claiming("c", "v1/gen", "x")
    registry = Registry([short, long, late])
    assert registry.resolve("/v1/gen") is long
    assert registry.resolve("/v2/gen") is short
    assert registry.resolve("/x") is late


def test_a_path_that_nobody_claims_is_refused() -> None:
    registry = Registry([ANTHROPIC])
    for _ in range(2):
        with pytest.raises(BadRequest) as caught:
            registry.resolve("/v1/models/?x=1")
        assert caught.value.message == "no parser registered matching path suffix for: /v1/models"


def test_without_parsers_every_path_is_refused() -> None:
    with pytest.raises(BadRequest):
        Registry([]).resolve("/v1/messages")


def test_the_fallback_ends_the_list(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        registry = Registry([OPENAI, REST, ANTHROPIC])
    assert registry.resolve("/v1/messages") is REST
    assert "anthropic-parser is skipped: passthrough-parser" in caplog.text


def test_of_one_type_only_the_first_counts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        registry = Registry([Claiming("a", "x"), Claiming("a", "y"), REST])
    assert registry.resolve("/y") is REST
    assert "parser a is skipped" in caplog.text


def test_only_the_end_of_a_path_is_remembered() -> None:
    registry = Registry([OPENAI, REST])
    for number in range(2000):
        assert registry.resolve(f"/tenant-{number}/openai/deployment/v1/chat/completions") is OPENAI
    assert registry._find.cache_info().misses == 1


def test_a_path_is_trimmed() -> None:
    assert trimmed(" /a/b// ?q=/c ") == "/a/b"
