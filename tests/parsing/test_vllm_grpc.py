import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.media import named
from endpoint_picker.parsing.vllm_grpc import VllmGrpc
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import split, wiring
from tests.fakes.protobuf import field, frame, packed

PARSER: Parser = VllmGrpc("vllmgrpc-parser", None, wiring())
GENERATE = "/vllm.grpc.engine.VllmEngine/Generate"
EMBED = "/vllm.grpc.engine.VllmEngine/Embed"


def generate(*fields: bytes) -> Payload:
    return PARSER.parse(GENERATE, frame(b"".join(fields)))


def tokenized(*ids: int) -> bytes:
    return field(2, field(1, "the text of them") + packed(2, *ids))


def ids(payload: Payload) -> list[int]:
    (prompt,) = payload.prompts
    assert isinstance(prompt, np.ndarray)
    assert prompt.dtype == np.uint32
    found: list[int] = prompt.tolist()
    return found


# === requests ===


def test_a_text_is_the_prompt() -> None:
    payload = generate(field(1, "id-7"), field(3, "grüße"), field(4, field(8, 16)), field(5, 1))
    assert payload.prompts == ("grüße".encode(),)
    assert (payload.model, payload.stream, payload.max_output_tokens) == (None, True, 16)


def test_token_ids_are_the_prompt() -> None:
    payload = generate(tokenized(3, 1, 4294967295))
    assert ids(payload) == [3, 1, 4294967295]
    assert (payload.stream, payload.max_output_tokens, payload.media) == (False, None, ())


def test_a_limit_of_none_differs_from_no_limit() -> None:
    assert generate(field(3, "x"), field(4, field(8, 0))).max_output_tokens == 0
    assert generate(field(3, "x"), field(4, field(1, 0))).max_output_tokens is None


def test_fields_that_nobody_knows_here_are_passed_over() -> None:
    assert generate(field(3, "x"), field(6, 1), field(99, "later")).prompts == (b"x",)


def test_pictures_mark_their_places() -> None:
    def with_picture(name: str) -> Payload:
        place = field(5, field(1, 1) + field(2, 2))
        return generate(tokenized(5, 9, 9, 6), field(7, place + field(6, name)))

    one, other = with_picture("a"), with_picture("b")
    assert ids(one)[0] == ids(other)[0] == 5
    assert ids(one)[3] == ids(other)[3] == 6
    assert ids(one)[1] == ids(one)[2] != ids(other)[1]
    assert one.media == (named("image", "a"),)


def test_an_embedding_needs_token_ids() -> None:
    assert ids(PARSER.parse(EMBED, frame(tokenized(8, 9)))) == [8, 9]
    with pytest.raises(BadRequest, match=r"^invalid or unsupported gRPC payload: it has no prompt$"):
        PARSER.parse(EMBED, frame(field(3, "text")))


@pytest.mark.parametrize("path", [GENERATE, EMBED])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        frame(b""),
        frame(field(3, "x"), compressed=True),
        frame(field(3, "x"))[:-1],
        frame(b"\xff\xff\xff"),
        frame(field(3, b"\xff")),
        frame(field(2, b"\xff")),
        frame(tokenized()),
    ],
)
def test_a_body_that_is_no_request_is_refused(path: str, body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^invalid or unsupported gRPC payload: "):
        PARSER.parse(path, body)


def test_other_methods_are_not_read() -> None:
    assert PARSER.parse("/vllm.grpc.engine.VllmEngine/HealthCheck", b"?") == Payload()


def test_no_name_is_put_into_a_body() -> None:
    assert PARSER.rewrite(frame(field(3, "x")), "m") == frame(field(3, "x"))


@given(st.sampled_from([GENERATE, EMBED]), st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_payload_or_refused(path: str, data: bytes, framed: bool) -> None:
    try:
        payload = PARSER.parse(path, frame(data) if framed else data)
    except BadRequest:
        return
    assert len(payload.prompts) == 1


# === responses ===


def reported(*messages: bytes, streaming: bool = False, places: list[int] | None = None) -> Usage:
    reader = PARSER.usage(streaming=streaming)
    for chunk in split(b"".join(map(frame, messages)), places or []):
        reader.feed(chunk)
    return reader.finish()


def chunk(prompt: int, completion: int, cached: int) -> bytes:
    return field(1, packed(1, 77) + field(2, prompt) + field(3, completion) + field(4, cached))


COMPLETE = field(2, packed(1, 5, 6) + field(2, "stop") + field(3, 7) + field(4, 10) + field(5, 4))


@pytest.mark.parametrize("streaming", [False, True])
def test_the_usage_of_a_complete_answer(streaming: bool) -> None:
    assert reported(COMPLETE, streaming=streaming) == Usage(7, 10, 4)


@given(st.lists(st.integers(0, 200), max_size=6))
def test_the_last_message_of_a_stream_counts(places: list[int]) -> None:
    messages = (chunk(7, 1, 4), chunk(7, 2, 4), chunk(7, 3, 4))
    assert reported(*messages, streaming=True, places=places) == Usage(7, 3, 4)


def test_what_is_not_said_is_not_known() -> None:
    assert reported(field(2, field(3, 7))) == Usage(7)
    assert reported(field(2, b""), b"") == Usage()


def test_the_usage_of_an_embedding() -> None:
    floats = np.array([0.5, -1.0, 2.0], np.float32).tobytes()
    assert reported(field(1, floats) + field(2, 12) + field(3, 3)) == Usage(12)


def test_messages_that_cannot_be_read_report_nothing() -> None:
    assert reported(b"\xff\xff", field(1, b"\xff\xff")) == Usage()


@given(st.binary(max_size=60), st.booleans(), st.booleans())
def test_any_response_gives_a_usage(data: bytes, framed: bool, streaming: bool) -> None:
    reader = PARSER.usage(streaming=streaming)
    reader.feed(frame(data) if framed else data)
    assert isinstance(reader.finish(), Usage)
