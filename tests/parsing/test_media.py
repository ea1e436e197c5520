"""Media: marks in prompts, and the list that is kept of them, in every dialect."""

import json
from typing import Any

import msgspec
import pytest

from endpoint_picker.core.request import Payload
from endpoint_picker.parsing.anthropic import Anthropic
from endpoint_picker.parsing.media import DIGEST_BYTES, among, digest
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.vllm import VllmHttp
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import wiring

OPENAI: Parser = OpenAI("openai", None, wiring())
ANTHROPIC: Parser = Anthropic("anthropic", None, wiring())
VLLM: Parser = VllmHttp("vllm", None, wiring())


def parsed(parser: Parser, path: str, **fields: Any) -> Payload:
    return parser.parse(path, json.dumps({"model": "m", **fields}).encode())


def modalities(payload: Payload) -> list[str]:
    return [medium.modality for medium in payload.media]


def part(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, kind: value}


def test_a_digest_tells_kinds_and_values_and_their_borders_apart() -> None:
    a, b, ab = (msgspec.Raw(value) for value in (b'"a"', b'"b"', b'"a""b"'))
    marks = [digest("x", a), digest("y", a), digest("x", b), digest("x", a, b), digest("x", ab)]
    assert len(set(marks)) == len(marks)
    assert digest("x", a, b) == digest("x", a, b)


def test_only_marks_of_media_are_media() -> None:
    value = msgspec.Raw(b'"a"')
    image, file = digest("image_url", value), digest("file_data", value)
    # A client may write the same bytes as text.
    (medium,) = among([b"text", image, file, bytes(image)])
    assert medium.modality == "image"
    assert len(medium.digest) == DIGEST_BYTES


def test_a_chat_lists_its_media_in_order() -> None:
    content = [
        {"type": "text", "text": "see"},
        part("video_url", {"url": "v"}),
        part("image_url", {"url": "i"}),
        part("input_audio", {"data": "s", "format": "wav"}),
        part("image_url", {"url": "i"}),
        part("audio_url", {"url": "a"}),
    ]
    chat = parsed(OPENAI, "/v1/chat/completions", messages=[{"role": "user", "content": content}])
    assert modalities(chat) == ["video", "image", "audio", "image", "audio"]
    assert chat.media[1] == chat.media[3]
    assert len({medium.digest for medium in chat.media}) == 4
    assert chat.prompts[0].startswith(b"usersee<video_url:")  # type: ignore[union-attr]


@pytest.mark.parametrize(("path", "field"), [("/v1/responses", "input"), ("/v1/conversations", "items")])
def test_responses_and_conversations_list_theirs_but_no_files(path: str, field: str) -> None:
    content = [part("file_data", "f"), part("image_url", "i"), part("input_audio", "s")]
    payload = parsed(OPENAI, path, **{field: [{"type": "message", "role": "user", "content": content}]})
    assert modalities(payload) == ["image", "audio"]


def test_messages_list_their_images_also_those_of_tools_but_no_documents() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "i"}}
    other = {"type": "image", "source": {"type": "url", "url": "o"}}
    document = {"type": "document", "source": {"type": "base64", "data": "d"}}
    blocks = [image, document, {"type": "tool_result", "content": [other]}, {"source": {"data": "x"}}]
    payload = parsed(ANTHROPIC, "/v1/messages", messages=[{"role": "user", "content": blocks}])
    assert modalities(payload) == ["image", "image"]
    assert payload.media[0] != payload.media[1]


def test_token_ids_come_with_hashes_of_media() -> None:
    hashes = {"image": ["a", None, "b"], "audio": ["a"], "video": None}
    payload = parsed(VLLM, "/inference/v1/generate", token_ids=[1], features={"mm_hashes": hashes})
    assert modalities(payload) == ["image", "image", "audio"]
    assert payload.media[0].digest == payload.media[2].digest != payload.media[1].digest


@pytest.mark.parametrize(
    ("parser", "path", "fields"),
    [
        (OPENAI, "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        (OPENAI, "/v1/completions", {"prompt": "hi"}),
        (ANTHROPIC, "/v1/messages", {"messages": [{"role": "user", "content": "hi"}]}),
        (VLLM, "/inference/v1/generate", {"token_ids": [1]}),
        (VLLM, "/inference/v1/generate", {"token_ids": [1], "features": {}}),
    ],
)
def test_a_text_has_none(parser: Parser, path: str, fields: dict[str, Any]) -> None:
    assert parsed(parser, path, **fields).media == ()
