import json
from typing import Any

import numpy as np
import pytest

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.vllm import VllmHttp
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import recorded, wiring

PARSER: Parser = VllmHttp("vllm", None, wiring())
PATH = "/inference/v1/generate"


def parsed(**fields: Any) -> Payload:
    return PARSER.parse(PATH, json.dumps(fields).encode())


def ids(payload: Payload) -> list[int]:
    (prompt,) = payload.prompts
    assert isinstance(prompt, np.ndarray)
    assert prompt.dtype == np.uint32
    found: list[int] = prompt.tolist()
    return found


def test_the_fields_that_a_pick_needs_are_read() -> None:
    payload = parsed(
        model="m", token_ids=[3, 1], stream=True, cache_salt="s", sampling_params={"max_tokens": 8}
    )
    assert ids(payload) == [3, 1]
    assert (payload.model, payload.stream, payload.cache_salt, payload.max_output_tokens) == (
        "m",
        True,
        "s",
        8,
    )


def test_without_a_model_the_name_is_empty() -> None:
    assert parsed(token_ids=[1]).model == ""


def test_media_make_another_prompt() -> None:
    places = {"image": [{"offset": 1, "length": 1}]}
    one, other = (
        ids(parsed(token_ids=[3, 9], features={"mm_hashes": {"image": [name]}, "mm_placeholders": places}))
        for name in "ab"
    )
    assert one[0] == other[0] == 3
    assert one[1] != other[1]


@pytest.mark.parametrize("value", [None, []])
def test_ids_are_required(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"^invalid generate request: must have non-empty token_ids field$"):
        parsed(token_ids=value)


@pytest.mark.parametrize(
    "fields",
    [
        {"token_ids": "x"},
        {"token_ids": [-1]},
        {"token_ids": [2**32]},
        {"token_ids": [1.5]},
        {"token_ids": [[1]]},
        {"token_ids": [1], "cache_salt": 5},
        {"token_ids": [1], "features": []},
    ],
)
def test_a_field_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"^invalid generate request: [^m]"):
        parsed(**fields)


def test_another_path_is_not_supported() -> None:
    with pytest.raises(BadRequest, match=r"^unsupported path: /xinference/v1/generate$"):
        PARSER.parse("/xinference/v1/generate", b"{}")


def test_model_and_usage_are_handled_as_in_the_other_dialects() -> None:
    assert PARSER.rewrite(b'{"token_ids":[1]}', "b") == b'{"model":"b","token_ids":[1]}'
    reader = PARSER.usage(streaming=False)
    reader.feed(recorded("tokens_prompt"))
    assert reader.finish() == Usage(70, 2, 0)
