"""The tokenizer: ids are stable, prefixes stay prefixes, answers come back as they were generated."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator import tokenizer
from bench.simulator.tokenizer import decode, encode, encode_chat, filler


@given(st.text(max_size=80).filter(lambda text: "\0" not in text))
@settings(max_examples=100, deadline=None)
def test_text_survives(text: str) -> None:
    assert decode(encode(text)) == text


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_an_equal_text_prefix_gives_an_equal_id_prefix(prefix: str, rest: str) -> None:
    full = len(prefix.encode()) // tokenizer.WIDTH
    assert encode(prefix + rest)[:full].tolist() == encode(prefix)[:full].tolist()


def test_a_token_is_four_bytes() -> None:
    assert encode("hello wor").tolist() == [0x68656C6C, 0x6F20776F, 0x72000000]


def test_special_tokens_show_their_names() -> None:
    ids = encode_chat([{"role": "user", "content": "hi"}])
    assert decode(ids) == "<|start|>user\nhi<|end|><|start|>assistant\n"


def test_an_answer_has_the_same_ids_in_the_next_turn() -> None:
    asked = [{"role": "user", "content": "odd length"}]
    answer = filler(7, seed=5)
    first = np.concatenate((encode_chat(asked), answer)).tolist()
    turn = encode_chat([*asked, {"role": "assistant", "content": decode(answer)}, *asked]).tolist()
    assert turn[: len(first)] == first


def test_message_parts_are_joined_and_other_media_take_places_of_their_own() -> None:
    def ids(*parts: object) -> list[int]:
        return list(encode_chat([{"role": "user", "content": list(parts)}]).tolist())

    one, other = ({"type": "image_url", "image_url": {"url": url}} for url in ("data:1", "data:2"))
    text = {"type": "text", "text": "look"}
    assert ids(text) == encode_chat([{"role": "user", "content": "look"}]).tolist()
    assert len(ids(text, one)) == len(ids(text)) + 256
    assert ids(text, one) == ids(text, one) != ids(text, other)


def test_tools_and_tool_calls_count() -> None:
    plain = [{"role": "user", "content": "hi"}]
    call = [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
    assert len(encode_chat(plain, tools=[{"name": "f"}])) > len(encode_chat(plain))
    assert len(encode_chat(call)) > len(encode_chat([{"role": "assistant", "content": None}]))


@given(st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_filler_is_repeatable_and_longer_filler_goes_on(seed: int, short: int, more: int) -> None:
    tokens = filler(short + more, seed)
    assert tokens[:short].tolist() == filler(short, seed).tolist()
    assert len(decode(tokens)) == 4 * len(tokens)
    assert encode(decode(tokens)).tolist() == tokens.tolist()
