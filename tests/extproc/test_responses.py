"""The response half: what passes, what is changed, what is written to the books."""

import json

import pytest

from endpoint_picker.extproc.messages import (
    BodyReply,
    Modes,
    Mutation,
    Side,
    TrailersReply,
)
from tests.fakes.playbook import (
    end,
    piece,
    request_body,
    request_headers,
    response_body,
    response_headers,
    response_trailers,
    routed,
)
from tests.fakes.routing import Pool
from tests.fakes.talks import (
    ANSWER,
    BEST,
    BUFFERED,
    PROMPT,
    STREAMED,
    exchange,
    marked,
    talk,
)

# === the response ===


def test_a_json_answer_goes_on_whole(pool: Pool) -> None:
    book = exchange(pool) >> response_headers() << marked
    book >> response_body(ANSWER[:20]) << end
    book >> response_body(ANSWER[20:], end=True) << piece(Side.RESPONSE, ANSWER, end=True) << end
    assert pool.in_flight == 0
    assert pool.sample("llm_d_epp_request_input_tokens_sum") == 7
    assert pool.sample("llm_d_epp_request_output_tokens_sum") == 10


@pytest.mark.parametrize("kind", ["application/jsonl", "application/json-seq", "application/x-ndjson"])
def test_a_stream_of_json_documents_is_not_held(pool: Pool, kind: str) -> None:
    book = exchange(pool) >> response_headers(content_type=kind) << marked
    book >> response_body(b"{}\n") << piece(Side.RESPONSE, b"{}\n") << end


def test_the_case_of_a_media_type_does_not_matter(pool: Pool) -> None:
    book = exchange(pool) >> response_headers(content_type="Text/Event-Stream") << marked
    for _ in range(2):
        book >> response_body(b"data: {}\n\n") << piece(Side.RESPONSE, b"data: {}\n\n") << end
    assert pool.sample("llm_d_epp_request_streaming_itl_seconds_count") == 1


def test_a_large_json_answer_is_not_held(pool: Pool) -> None:
    book = exchange(pool) >> response_headers() << marked
    data = bytes(range(256)) * 256
    for _ in range(64):
        book >> response_body(data)
    assert len(book.replies) > 16
    book >> response_body(b"", end=True)
    assert book.body(Side.RESPONSE) == data * 64


def test_server_sent_events_go_on_as_they_come(pool: Pool) -> None:
    book = exchange(pool) >> response_headers(content_type="text/event-stream; charset=utf-8") << marked
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":10}}\n\ndata: [DONE]\n\n'
    for part in (b'data: {"choices":[1]}\n\n', usage[:30], usage[30:]):
        book >> response_body(part) << piece(Side.RESPONSE, part) << end
    book >> response_body(b"", end=True) << piece(Side.RESPONSE, b"", end=True) << end
    assert pool.sample("llm_d_epp_request_input_tokens_sum") == 7
    assert pool.sample("llm_d_epp_request_streaming_itl_seconds_count") == 2


def test_a_response_may_end_with_its_headers(pool: Pool) -> None:
    exchange(pool) >> response_headers(status=204, end=True) << marked << end
    assert pool.in_flight == 0


def test_a_response_that_ends_with_trailers(pool: Pool) -> None:
    book = exchange(pool) >> response_headers() << marked >> response_body(ANSWER) << end
    book >> response_trailers() << piece(Side.RESPONSE, ANSWER) << TrailersReply(Side.RESPONSE) << end
    assert pool.in_flight == 0


def test_a_response_without_a_request_is_watched_too(pool: Pool) -> None:
    book = talk(pool) >> response_headers() << marked
    book >> response_body(ANSWER[:9]) >> response_body(ANSWER[9:]) >> response_body(b"", end=True)
    book << piece(Side.RESPONSE, ANSWER, end=True) << end
    assert pool.sample("llm_d_epp_request_input_tokens_sum", model_name="") == 7


def test_a_response_may_begin_before_the_request_has_ended(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=STREAMED) << routed(BEST) >> response_headers(status=400)
    book << marked >> request_body(PROMPT) << BodyReply(Side.REQUEST) << end


@pytest.mark.parametrize("modes", [STREAMED, BUFFERED])
def test_in_lock_step_each_part_of_the_response_is_answered(pool: Pool, modes: Modes) -> None:
    book = talk(pool) >> request_headers(modes=modes) >> request_body(PROMPT)
    book.replies.clear()
    book >> response_headers()
    assert marked(book.replies[-1])
    for part, last in ((ANSWER[:20], False), (ANSWER[20:], True)):
        book >> response_body(part, end=last)
        assert book.replies[-1] == BodyReply(Side.RESPONSE)
    assert len(book.replies) == 3
    assert pool.in_flight == 0


def test_in_lock_step_a_changed_part_is_replaced(pool: Pool) -> None:
    book = (
        talk(pool) >> request_headers(modes=BUFFERED, x_llm_d_model_name_rewrite="v2") >> request_body(PROMPT)
    )
    sent = book.only(BodyReply).replacement
    assert json.loads(sent)["model"] == "v2"
    book >> response_headers() >> response_body(ANSWER.replace(b"llama", b"v2"), end=True)
    assert book.replies[-1] == BodyReply(Side.RESPONSE, ANSWER)


@pytest.mark.parametrize("modes", [STREAMED, BUFFERED])
def test_a_declared_length_follows_a_changed_part(pool: Pool, modes: Modes) -> None:
    """In STREAMED mode the headers are gone by then, and Envoy has dropped the length."""
    book = talk(pool) >> request_headers(modes=modes, x_llm_d_model_name_rewrite="v2") >> request_body(PROMPT)
    sent = ANSWER.replace(b"llama", b"v2")
    book >> response_headers(content_length=str(len(sent))) >> response_body(sent, end=True)
    length = (("content-length", str(len(ANSWER))),) if modes is BUFFERED else ()
    assert book.replies[-1] == BodyReply(Side.RESPONSE, ANSWER, Mutation(set=length))


def test_the_books_follow_the_endpoint_that_served(pool: Pool) -> None:
    book = exchange(pool)
    assert pool.in_flight_at(0) == 1
    book >> response_headers(served="10.0.0.2:8000")
    assert (pool.in_flight_at(0), pool.in_flight_at(1)) == (0, 1)
    book >> response_body(ANSWER, end=True)
    assert pool.in_flight == 0


def test_the_first_token_releases_the_prefill(pool: Pool) -> None:
    book = exchange(pool) >> response_headers(content_type="text/event-stream")
    assert pool.prefill_tokens > 0
    book >> response_body(b"data: {}\n\n")
    assert pool.prefill_tokens == 0
    assert pool.in_flight == 1
