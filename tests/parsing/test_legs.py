"""The bodies of the two legs: what is changed, and that nothing else is."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.parsing import legs
from endpoint_picker.parsing.legs import Api

GOLDEN = Path(__file__).parents[3] / "shared/golden/vllm-0.32.0/nixl.json"
CHANGED = {
    "kv_transfer_params",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "min_tokens",
    "sampling_params",
}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(
    st.text(max_size=9) | st.sampled_from(sorted(CHANGED - {"sampling_params"})), VALUES
)
SPELLINGS = st.sampled_from(
    [{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (" , ", " : ")}, {"separators": (",", ":")}]
)


def leg(api: Api, **fields: Any) -> Any:
    body = legs.opened(json.dumps(fields).encode())
    return json.loads(legs.written(legs.prefill_leg(api, body, legs.NIXL_PREFILL_PARAMS)))


def prime(api: Api, **fields: Any) -> Any:
    return json.loads(legs.written(legs.one_token(api, legs.opened(json.dumps(fields).encode()))))


NIXL = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
ONES = {"max_tokens": 1, "max_completion_tokens": 1, "min_tokens": 1}


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/completions", Api.COMPLETIONS),
        ("/v1/chat/completions?x=/v1/nothing", Api.CHAT),
        ("/prefix/v1/messages/", Api.MESSAGES),
        ("/v1/responses", Api.RESPONSES),
        ("/inference/v1/generate", Api.GENERATE),
        ("/v1/completions/render", None),
        ("/v1/mycompletions", None),
        ("/generate", None),
        ("", None),
    ],
)
def test_the_end_of_a_path_names_the_api(path: str, api: Api | None) -> None:
    assert legs.api_of(path) is api


@pytest.mark.parametrize(
    ("body", "single"),
    [
        ({"messages": []}, True),
        ({"prompt": "a"}, True),
        ({"prompt": None, "prompt_embeds": "QQ=="}, True),
        ({"prompt": []}, True),
        ({"prompt": [1, 2]}, True),
        ({"prompt": ["a"]}, True),
        ({"prompt": [[1, 2]]}, True),
        ({"prompt": ["a", "\ud800"]}, False),
        ({"prompt": [[1], [2]]}, False),
        ({"prompt": "a", "prompt_embeds": "QQ=="}, False),
        ({"prompt_embeds": ["QQ==", "QQ=="]}, False),
        ({"prompt": "a", "n": 1, "best_of": None}, True),
        ({"prompt": "a", "n": 2}, False),
        ({"prompt": "a", "best_of": 2}, False),
        ({"prompt": "a", "prompt_logprobs": 0}, False),
        ({"prompt": "a", "prompt_logprobs": None, "echo": False, "logprobs": 3}, True),
        ({"prompt": "a", "echo": True, "logprobs": 1}, False),
        ({"token_ids": [1], "sampling_params": {"prompt_logprobs": 1}}, False),
        ({"token_ids": [1], "sampling_params": {"n": 2}}, False),
        ({"token_ids": [1], "sampling_params": {"n": 1, "logprobs": 1}}, True),
        ({"token_ids": [1], "sampling_params": None}, True),
        ({"token_ids": [1], "sampling_params": [1]}, True),
    ],
)
@pytest.mark.parametrize("space", ["", " "])
def test_what_is_handed_over_serves_one_answer_to_one_prompt(
    body: dict[str, Any], single: bool, space: str
) -> None:
    text = json.dumps(body).replace("[", "[" + space)
    assert legs.single(legs.opened(text.encode())) == single


@pytest.mark.parametrize("api", [Api.COMPLETIONS, Api.CHAT, Api.MESSAGES])
def test_a_prefill_computes_one_token_whatever_the_client_asked_for(api: Api) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "min_tokens": 7, "max_tokens": 9}
    assert leg(api, prompt="p", kv_transfer_params={"mine": 1}, **asked) == {
        "prompt": "p",
        "stream": False,
        "kv_transfer_params": NIXL,
        **ONES,
    }
    assert leg(api, prompt="p") == {"prompt": "p", "stream": False, "kv_transfer_params": NIXL, **ONES}


def test_a_prefill_of_the_responses_api_has_a_limit_of_its_own() -> None:
    assert leg(Api.RESPONSES, input="i", min_tokens=3) == {
        "input": "i",
        "stream": False,
        "max_output_tokens": 1,
        "min_tokens": 1,
        "kv_transfer_params": NIXL,
    }


@pytest.mark.parametrize("sampling", [{}, {"sampling_params": None}, {"sampling_params": {"max_tokens": 8}}])
def test_a_prefill_of_tokens_has_its_limits_among_the_sampling_parameters(sampling: dict[str, Any]) -> None:
    assert leg(Api.GENERATE, token_ids=[1], **sampling) == {
        "token_ids": [1],
        "stream": False,
        "sampling_params": {"max_tokens": 1, "min_tokens": 1},
        "kv_transfer_params": NIXL,
    }


def test_sampling_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(BadRequest, match="sampling_params is no JSON object"):
        leg(Api.GENERATE, sampling_params=[1])


def test_a_prime_limits_only_what_the_client_limited() -> None:
    assert prime(Api.CHAT, x=1) == {"x": 1, "stream": False, "max_tokens": 1}
    assert prime(Api.CHAT, min_tokens=5, max_completion_tokens=9) == {"stream": False, **ONES}
    assert prime(Api.RESPONSES) == {"stream": False, "max_output_tokens": 1}
    assert prime(Api.GENERATE, sampling_params={"min_tokens": 4, "seed": 1})["sampling_params"] == {
        "min_tokens": 1,
        "max_tokens": 1,
        "seed": 1,
    }


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recorded exchange is not here")
def test_a_recorded_exchange_is_what_we_would_send() -> None:
    for exchange in json.loads(GOLDEN.read_text()):
        asked = exchange["decode_request"]
        fields = {name: value for name, value in asked.items() if name != "kv_transfer_params"}
        api = legs.api_of(exchange["path"])
        assert api is not None
        # The recording client set those limits only that the engine needs.
        assert leg(api, **fields) == exchange["prefill_request"] | ONES
        answer = json.dumps(exchange["prefill_response"]).encode()
        params = legs.transfer_params(answer)
        assert params is not None
        sent = legs.written(legs.decode_leg(legs.opened(json.dumps(fields).encode()), params))
        assert json.loads(sent) == asked
        assert legs.cached_tokens(answer) == 0


@given(OBJECTS, SPELLINGS, st.sampled_from(list(Api)))
def test_what_no_leg_changes_keeps_its_bytes(body: dict[str, Any], how: dict[str, Any], api: Api) -> None:
    spelled = {name: json.dumps(value, **how).encode() for name, value in body.items()}
    pairs = [b"%b :\t%b" % (json.dumps(name).encode(), value) for name, value in spelled.items()]
    fields = legs.opened(b" {%b} " % b" , ".join(pairs))
    assert json.loads(legs.written(fields)) == body
    sent = legs.prefill_leg(api, fields, legs.NIXL_PREFILL_PARAMS)
    got = legs.decode_leg(fields, b'{"any": "thing"}')
    for name in body.keys() - CHANGED:
        assert bytes(sent[name]) == bytes(got[name]) == spelled[name]
    assert got.keys() == body.keys() | {"kv_transfer_params"}
    assert bytes(got["kv_transfer_params"]) == b'{"any": "thing"}'


def test_half_of_a_surrogate_pair_goes_on_as_it_came() -> None:
    body = rb'{"prompt": "cut \ud83d", "x": [1.50, "\uD83D\uDE00"],"min_tokens":3}'
    fields = legs.opened(body)
    assert bytes(fields["prompt"]) == rb'"cut \ud83d"'
    assert legs.written(fields) == rb'{"prompt":"cut \ud83d","x":[1.50, "\uD83D\uDE00"],"min_tokens":3}'


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nul", b'"x"', b'{"a":tru}', b'{"a":' + b"[" * 9000, b"{}x", b"\xff"]
)
def test_what_is_no_object_is_the_clients_fault_or_the_replicas(body: bytes) -> None:
    with pytest.raises(BadRequest, match="no JSON object"):
        legs.opened(body)
    with pytest.raises(ValueError, match=r"JSON|decode|truncated|nested|object"):
        legs.transfer_params(body)
    assert legs.cached_tokens(body) is None


@pytest.mark.parametrize("body", [b"{}", b'{"kv_transfer_params":null}', b'{"kv_transfer_params":"no"}'])
def test_a_prefill_may_have_nothing_to_hand_over(body: bytes) -> None:
    assert legs.transfer_params(body) is None


def test_what_a_prefill_hands_over_is_taken_verbatim() -> None:
    params = legs.transfer_params(b'{"kv_transfer_params": {"a": 1.0, "b": [ ] }, "usage": 3}')
    assert isinstance(params, msgspec.Raw)
    assert bytes(params) == b'{"a": 1.0, "b": [ ] }'


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 7}}, 7),
        ({"input_tokens_details": {"cached_tokens": 8}}, 8),
        ({"cache_read_input_tokens": 9}, 9),
        ({"prompt_tokens_details": None}, None),
        (None, None),
    ],
)
def test_cached_tokens_are_read_in_each_dialect(usage: Any, cached: int | None) -> None:
    assert legs.cached_tokens(json.dumps({"usage": usage}).encode()) == cached
