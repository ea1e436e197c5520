"""Plugins outside the profile: what they say counts, and what they break does not."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from endpoint_picker.core.decision import Decision
from endpoint_picker.core.endpoints import Candidates
from endpoint_picker.core.errors import ResourceExhausted, ServiceUnavailable
from endpoint_picker.core.request import Request, Usage
from endpoint_picker.director import Arrival
from endpoint_picker.exchange import Exchange
from endpoint_picker.extproc import codec
from endpoint_picker.extproc.messages import HeadersReply, Piece, Side
from tests.fakes.playbook import Playbook, request_body, request_headers, response_body, response_headers
from tests.fakes.routing import Pool

BODY = json.dumps({"model": "m", "prompt": "hello"}).encode()
ANSWER = (
    b'{"usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}}'
)


class Told:
    """Has all methods of a plugin outside the profile; each does what it is given."""

    type = "told"
    name = "told"

    def __init__(self, **does: Callable[..., Any]) -> None:
        for method, call in does.items():
            setattr(self, method, call)


def fails(*_: Any) -> Any:
    raise ZeroDivisionError


@pytest.fixture
def pool() -> Pool:
    return Pool(waiting=[0, 5, 9])


def route(pool: Pool, **does: Callable[..., Any]) -> Exchange:
    pool.rebuild(plugins=(Told(**does),))
    return pool.director.route(Arrival({":path": "/v1/completions"}, pool.now), BODY)


def failures(pool: Pool) -> float | None:
    return pool.sample("llm_d_epp_plugin_failures_total", plugin_name="told")


def all_but_first(request: Request, candidates: Candidates) -> Any:
    return candidates.rows > 0


def test_a_screener_limits_the_choice(pool: Pool) -> None:
    decision = route(pool, screen=all_but_first).decision
    assert decision is not None
    assert decision.row == 1


def test_screeners_are_intersected(pool: Pool) -> None:
    first = Told(screen=all_but_first)
    second = Told(screen=lambda request, candidates: candidates.rows != 1)
    pool.rebuild(plugins=(first, second))
    decision = pool.director.route(Arrival({}, pool.now), BODY).decision
    assert decision is not None
    assert decision.row == 2


def test_when_screeners_leave_nobody_the_request_is_unavailable(pool: Pool) -> None:
    with pytest.raises(ServiceUnavailable, match="screeners eliminated all") as caught:
        route(pool, screen=lambda request, candidates: np.zeros(len(candidates), np.bool_))
    assert caught.value.reason == "rejected-no-endpoints"


@pytest.mark.parametrize("answer", [None, [True, True, True], np.ones(2, np.bool_), np.ones(3)])
def test_a_screener_that_answers_no_mask_is_not_heard(pool: Pool, answer: object) -> None:
    assert route(pool, screen=lambda *_: answer).decision is not None
    assert failures(pool) == 1


def test_an_admitter_refuses_with_its_reason(pool: Pool) -> None:
    with pytest.raises(ResourceExhausted, match="not today") as caught:
        route(pool, admit=lambda *_: "not today")
    assert caught.value.reason == "rejected-saturated"
    assert pool.open == 0


@pytest.mark.parametrize("method", ["read_headers", "screen", "admit", "respond"])
def test_one_that_fails_is_named_and_counted_and_the_request_goes_on(
    pool: Pool, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = route(pool, **{method: fails})
    exchange.response_headers({":status": "200"})
    assert exchange.fields() == ()
    assert failures(pool) == 1
    assert "told" in caplog.text


def test_what_headers_tell_is_there_for_all_that_come_after(pool: Pool) -> None:
    def read(request: Request) -> None:
        request.fairness_id = "somebody"

    route(pool, read_headers=read)
    assert pool.sample("llm_d_epp_request_total", fairness_id="somebody") == 1


def conversation(pool: Pool, **does: Callable[..., Any]) -> Playbook:
    pool.rebuild(plugins=(Told(**does),))
    book = Playbook(pool.stream()) >> request_headers() >> request_body(BODY)
    return book >> response_headers() >> response_body(ANSWER, end=True)


def test_a_responder_adds_to_the_header_of_the_response(pool: Pool) -> None:
    def respond(request: Request, decision: Decision) -> Mapping[str, str]:
        return {"x-session-token": decision.endpoint.name}

    replies = conversation(pool, respond=respond).replies
    (headers,) = (each for each in replies if isinstance(each, HeadersReply) and each.side is Side.RESPONSE)
    assert headers.mutation.set == (("x-went-into-resp-headers", "true"), ("x-session-token", "pod1"))


def test_an_auditor_reads_the_bill_once(pool: Pool) -> None:
    bills: list[tuple[int, Usage]] = []

    def audit(request: Request, decision: Decision, row: int, usage: Usage) -> None:
        bills.append((row, usage))

    conversation(pool, audit=audit).stream.close()
    assert bills == [(0, Usage(7, 3, 4))]


def test_a_broken_auditor_breaks_nothing(pool: Pool) -> None:
    conversation(pool, audit=fails).stream.close()
    assert failures(pool) == 1
    assert (pool.open, pool.in_flight) == (0, 0)
    assert pool.sample("llm_d_epp_request_input_tokens_sum") == 7


def test_a_reporter_tells_the_data_plane_with_the_end(pool: Pool) -> None:
    def report(request: Request, usage: Usage) -> Mapping[str, Mapping[str, float]]:
        return {"envoy.lb": {"cost": 2.0 * (usage.prompt_tokens or 0)}}

    last = conversation(pool, report=report).replies[-1]
    assert last == Piece(Side.RESPONSE, ANSWER, True, {"envoy.lb": {"cost": 14.0}})
    message = ext_proc.ProcessingResponse.FromString(codec.encode(last))
    assert message.dynamic_metadata["envoy.lb"]["cost"] == 14.0
    assert message.response_body.response.body_mutation.streamed_response.body == ANSWER


@pytest.mark.parametrize("answer", [7, {"a": 1}, {"a": {"b": object()}}])
def test_what_is_no_metadata_is_not_told(pool: Pool, answer: object) -> None:
    replies = conversation(pool, report=lambda *_: answer).replies
    assert replies[-1] == Piece(Side.RESPONSE, ANSWER, True)
    assert failures(pool) == 1


def test_learners_that_produce_nothing_learn_too(pool: Pool) -> None:
    learned: list[int] = []
    route(pool, learn=lambda request, decision: learned.append(decision.row), learn_at=fails)
    assert learned == [0]
