"""The whole conversation: refusals, failing replicas, and every way to break off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.extproc.messages import (
    Body,
    Headers,
    Incoming,
    Modes,
    Side,
)
from endpoint_picker.extproc.stream import OutOfOrder
from tests.fakes.playbook import (
    end,
    refused,
    request_body,
    request_headers,
    request_trailers,
    response_body,
    response_headers,
    response_trailers,
    routed,
)
from tests.fakes.routing import Pool
from tests.fakes.talks import BEST, BUFFERED, NONE, PROMPT, STREAMED, exchange, talk

# === refusals ===


def test_broken_json_is_the_clients_fault(pool: Pool) -> None:
    book = talk(pool) >> request_headers() >> request_body(b"no healthy upstream")
    text = "error unmarshaling request bodyMap: invalid character 'o' in literal null (expecting 'u')"
    book << refused(400, f"inference error: BadRequest - {text}") << end
    assert book.stream.finished
    assert pool.in_flight == 0


def test_a_missing_model_is_refused_before_the_pool_is_looked_at() -> None:
    book = talk(Pool(waiting=[])) >> request_headers() >> request_body(b'{"prompt":"hi"}')
    book << refused(400, "inference error: BadRequest - model not found in request body") << end


@pytest.mark.parametrize("end_of_stream", [True, False])
def test_an_empty_pool_is_unavailable(end_of_stream: bool) -> None:
    book = talk(Pool(waiting=[])) >> request_headers(end=end_of_stream)
    if not end_of_stream:
        book >> request_body(PROMPT)
    book << refused(503, "inference error: ServiceUnavailable - failed to find endpoint candidates") << end


@pytest.mark.parametrize("modes", [None, BUFFERED, STREAMED])
def test_a_body_over_the_limit_is_refused(pool: Pool, modes: Modes | None) -> None:
    book = talk(pool, limit=100) >> request_headers(modes=modes) >> request_body(bytes(101), end=False)
    assert refused(413, "larger than 100 bytes")(book.replies[-1])
    assert book.stream.finished
    assert pool.in_flight == 0


def test_a_declared_length_over_the_limit_is_refused_at_once(pool: Pool) -> None:
    talk(pool, limit=100) >> request_headers(content_length="101") << refused(413) << end


def test_a_body_of_just_the_limit_is_served(pool: Pool) -> None:
    talk(pool, limit=len(PROMPT)) >> request_headers() >> request_body(PROMPT) << routed(BEST)


def test_nothing_is_said_after_an_immediate_answer(pool: Pool) -> None:
    book = talk(pool) >> request_headers() >> request_body(b"{") << refused(400) << end
    book >> response_headers() >> response_body(b"x", end=True) << end


def test_refusals_are_counted(pool: Pool) -> None:
    talk(pool) >> request_headers() >> request_body(b"{") << refused(400)
    talk(pool, limit=3) >> request_headers() >> request_body(b"1234") << refused(413)
    assert pool.sample("llm_d_epp_request_error_total", error_code="BadRequest") == 1
    assert pool.sample("llm_d_epp_request_error_total", error_code="PayloadTooLarge") == 1


# === a replica in trouble ===


def test_a_replica_that_only_fails_is_left_alone_for_a_while(pool: Pool) -> None:
    for _ in range(3):
        exchange(pool) >> response_headers(status=503, end=True)
    book = talk(pool) >> request_headers() >> request_body(PROMPT)
    book << routed("10.0.0.2:8000")
    assert pool.sample("llm_d_epp_request_error_total", error_code="ModelServerError") == 3
    pool.now += 6.0
    pool.observe(waiting=[0, 5, 9], kv_usage=[0.1, 0.5, 0.9])
    exchange(pool)


def test_when_all_replicas_fail_they_are_all_tried() -> None:
    pool = Pool(waiting=[0])
    for _ in range(5):
        book = talk(pool) >> request_headers() >> request_body(PROMPT)
        book << routed(BEST) >> response_headers(status=500, end=True)


def test_a_good_answer_clears_the_record(pool: Pool) -> None:
    for status in (503, 503, 200, 503, 503):
        exchange(pool) >> response_headers(status=status, end=True)
    exchange(pool)


# === the conversation breaks off ===


CONVERSATION = (
    request_headers(),
    request_body(PROMPT[:10], end=False),
    request_body(PROMPT[10:]),
    response_headers(content_type="text/event-stream"),
    response_body(b'data: {"usage":'),
    response_body(b"{}}\n\n", end=True),
    response_trailers(),
)


@pytest.mark.parametrize("length", range(len(CONVERSATION) + 1))
@pytest.mark.parametrize("modes", [None, STREAMED, BUFFERED, NONE])
def test_whatever_way_it_ends_the_ledger_is_empty(pool: Pool, length: int, modes: Modes | None) -> None:
    stream = pool.stream()
    for message in CONVERSATION[:length]:
        if modes is not None and message is CONVERSATION[0]:
            message = request_headers(modes=modes)
        stream.receive(message)
    stream.close()
    stream.close()
    assert (pool.in_flight, pool.prefill_tokens, pool.open) == (0, 0, 0)
    assert pool.sample("llm_d_epp_request_running") in (None, 0)


@pytest.mark.parametrize(
    "messages",
    [
        (request_headers(), request_headers()),
        (response_headers(), response_headers()),
        (response_headers(), request_body(b"")),
    ],
)
def test_a_message_that_cannot_come_now_is_an_error(pool: Pool, messages: tuple[Incoming, ...]) -> None:
    stream = pool.stream()
    for message in messages[:-1]:
        stream.receive(message)
    with pytest.raises(OutOfOrder):
        stream.receive(messages[-1])


MESSAGES = st.sampled_from(
    [
        *CONVERSATION,
        request_headers(end=True),
        request_trailers(),
        request_body(b"\xff{", end=True),
        Incoming(Side.REQUEST, Headers({}, False), modes=STREAMED, subset=("10.0.0.1",)),
        Incoming(Side.REQUEST, Body(b"", True), served="10.0.0.2:8000"),
        response_headers(status=500),
    ]
)


@given(st.lists(MESSAGES, max_size=8))
def test_no_order_of_messages_leaves_a_trace(messages: list[Incoming]) -> None:
    pool = Pool(waiting=[0, 1])
    stream = pool.stream()
    for message in messages:
        try:
            stream.receive(message)
        except OutOfOrder:
            break
    stream.close()
    assert (pool.in_flight, pool.prefill_tokens, pool.open) == (0, 0, 0)
