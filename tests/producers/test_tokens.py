"""Estimated tokens."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.config import units
from endpoint_picker.core import attributes
from endpoint_picker.core.attributes import TokenizedPrompt
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.request import Payload, Prompt, Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from endpoint_picker.producers.tokens import TokenEstimate, TokenParameters, tokens_of


def tokenize(*prompts: Prompt, name: str = "token-producer") -> TokenizedPrompt:
    table = EndpointTable()
    producer = TokenEstimate(name, TokenParameters(), Wiring(table, Metrics()))
    request = Request("1", {}, "/v1/completions", 0.0, payload=Payload(model="m", prompts=prompts))
    producer.produce(request, table.candidates(0.0))
    fact = request.attributes.read(attributes.tokenized_prompt(name))
    assert fact is not None
    return fact


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_four_bytes_make_a_token_and_zeros_pad_the_last(text: bytes) -> None:
    tokens = tokens_of(text)
    assert tokens.dtype == np.uint32
    assert len(tokens) == -(-len(text) // 4)
    assert tokens.tobytes()[: len(text)] == text
    assert not any(tokens.tobytes()[len(text) :])


def test_words_are_little_endian() -> None:
    assert tokens_of(b"\x01\x02\x03\x04\x05").tolist() == [0x04030201, 0x05]


def test_each_prompt_stays_on_its_own() -> None:
    fact = tokenize(b"four", b"", b"eight by", name="mine")
    assert [len(tokens) for tokens in fact.prompts] == [1, 0, 2]
    assert fact.total == 3


def test_ids_are_kept_as_they_are() -> None:
    ids = np.array([5, 6, 7], np.uint32)
    fact = tokenize(ids)
    assert fact.prompts[0] is ids
    assert fact.total == 3


def test_no_prompt_makes_no_tokens() -> None:
    assert tokenize() == TokenizedPrompt((), 0)


def converted(written: dict[str, object]) -> TokenParameters:
    return msgspec.convert(written, TokenParameters, dec_hook=units.decode)


@pytest.mark.parametrize(
    "written",
    [
        {"vllm": {"url": "http://localhost:8000", "timeout": "5s", "mmTimeout": "1m"}, "modelName": "m"},
        {"udsTokenizerConfig": {"socketFile": "/run/tokenizer.sock"}},
    ],
)
def test_other_back_ends_are_read_and_tokens_estimated(
    written: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    producer = TokenEstimate("mine", converted(written), Wiring(EndpointTable(), Metrics()))
    assert "tokens are estimated" in caplog.text
    assert next(iter(written)) in caplog.text
    assert producer.produces() == (attributes.tokenized_prompt("mine"),)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"vllm": {}}, "modelName is empty"),
        ({"vllm": {}, "estimate": {}, "modelName": "m"}, "estimate, vllm: these back ends exclude"),
    ],
)
def test_back_ends_that_cannot_be_meant_are_refused(written: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        converted(written)


def test_the_estimate_block_is_read_and_checked() -> None:
    written = {
        "estimate": {
            "image": {"mode": "static", "static": {"staticToken": 256}},
            "video": {"frames": {"mode": "strided", "strided": {"defaultSourceFPS": 30, "frameStride": 2}}},
        }
    }
    parameters = msgspec.convert(written, TokenParameters)
    assert parameters.estimate is not None
    assert parameters.estimate.image.static.static_token == 256
    assert parameters.estimate.video.frames.strided.default_source_fps == 30
    assert parameters.estimate.image.default_resolution.width == 640
    with pytest.raises(msgspec.ValidationError, match="statics"):
        msgspec.convert({"estimate": {"image": {"statics": {}}}}, TokenParameters)
    with pytest.raises(msgspec.ValidationError, match=r"image\.mode"):
        msgspec.convert({"estimate": {"image": {"mode": "other"}}}, TokenParameters)
