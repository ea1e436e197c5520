import json

from hypothesis import given
from hypothesis import strategies as st

from bench.fleet import text
from bench.fleet.traffic import Request
from endpoint_picker.kvindex.hashing import block_hashes
from endpoint_picker.producers.tokens import tokens_of

BLOCK = 64

requests = st.builds(
    lambda shared, own, prompt, output, extra: Request(
        prompt, output, (*range(shared), *range(own, own + 12))[: -(-(prompt + extra) // BLOCK)]
    ),
    shared=st.integers(0, 6),
    own=st.integers(1000, 1003).map(lambda n: n * 1000),
    prompt=st.integers(1, 12 * BLOCK),
    output=st.integers(1, 50),
    extra=st.integers(0, 50),
)


def test_the_body_is_what_a_client_would_send() -> None:
    body = json.loads(text.body(Request(100, 5, (1, 2), adapter="mine"), BLOCK))
    assert body["model"] == "mine"
    assert body["stream"] is True
    assert len(body["prompt"]) == 400
    assert json.loads(text.body(Request(100, 5, (1, 2)), BLOCK))["model"] == text.MODEL


@given(requests)
def test_the_estimate_of_tokens_is_true(request: Request) -> None:
    assert len(tokens_of(text.prompt(request, BLOCK))) == request.prompt_tokens


@given(requests, requests)
def test_prompts_share_text_as_far_as_they_share_ids(one: Request, other: Request) -> None:
    """For the picker's own hashes, and for the engine's."""
    shared = leading(one.blocks, other.blocks) * BLOCK
    most = min(one.prompt_tokens, other.prompt_tokens, shared) // 16
    seen = [block_hashes(tokens_of(text.prompt(each, BLOCK)), 16, 7).tolist() for each in (one, other)]
    full = min(one.prompt_tokens, other.prompt_tokens) // 16
    assert leading(seen[0][:full], seen[1][:full]) == most
    held = [text.hashes(each, BLOCK, 16) for each in (one, other)]
    assert leading(held[0], held[1]) == min(len(held[0]), len(held[1]), shared // 16)


def test_an_answer_is_known_where_its_ids_are() -> None:
    assert len(text.hashes(Request(100, 60, (1, 2, 3)), BLOCK, 16)) == 10
    # Ids of the prompt alone, the last of which is cut off by its end.
    assert len(text.hashes(Request(100, 600, (1, 2)), BLOCK, 16)) == 6


def test_adapters_share_nothing() -> None:
    one, other = (text.hashes(Request(64, 1, (1,), adapter=name), BLOCK, 16) for name in ("", "a"))
    assert not set(one) & set(other)


def leading(one: object, other: object) -> int:
    pairs = zip(one, other, strict=False)  # type: ignore[call-overload]
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))  # type: ignore[arg-type]
