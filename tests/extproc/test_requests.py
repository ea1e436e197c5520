"""The request half: when it is decided, and what goes along."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.extproc.messages import (
    PIECE_BYTES,
    BodyMode,
    BodyReply,
    Headers,
    HeadersReply,
    Immediate,
    Incoming,
    Modes,
    Piece,
    Side,
    TrailersReply,
    pieces,
)
from tests.fakes.playbook import (
    end,
    piece,
    refused,
    request_body,
    request_headers,
    request_trailers,
    response_body,
    response_headers,
    routed,
)
from tests.fakes.routing import Pool
from tests.fakes.talks import (
    ANSWER,
    BEST,
    BUFFERED,
    NONE,
    PROMPT,
    STREAMED,
    marked,
    pool_of_three,
    talk,
)

# === full duplex, the request ===


def test_nothing_is_answered_before_the_end_of_the_body(pool: Pool) -> None:
    book = talk(pool) >> request_headers() << end
    book >> request_body(PROMPT[:10], end=False) << end
    book >> request_body(PROMPT[10:]) << routed(BEST) << piece(Side.REQUEST, PROMPT, end=True) << end


def test_an_absent_mode_means_full_duplex(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=None) >> request_body(PROMPT)
    book << routed(BEST) << piece(Side.REQUEST, PROMPT, end=True) << end


def test_the_end_of_the_body_may_come_alone(pool: Pool) -> None:
    book = talk(pool) >> request_headers() >> request_body(PROMPT, end=False) << end
    book >> request_body(b"") << routed(BEST) << piece(Side.REQUEST, PROMPT, end=True) << end


def test_a_body_that_ends_with_trailers_has_no_end_of_stream(pool: Pool) -> None:
    book = talk(pool) >> request_headers() >> request_body(PROMPT, end=False) << end
    (
        book
        >> request_trailers()
        << routed(BEST)
        << piece(Side.REQUEST, PROMPT)
        << TrailersReply(Side.REQUEST)
        << end
    )


def test_trailers_after_the_end_of_the_body_are_answered(pool: Pool) -> None:
    book = (
        talk(pool)
        >> request_headers()
        >> request_body(PROMPT)
        << routed()
        << piece(Side.REQUEST, PROMPT, end=True)
    )
    book >> request_trailers() << TrailersReply(Side.REQUEST) << end


def test_a_request_without_a_body_is_routed_by_its_headers(pool: Pool) -> None:
    talk(pool) >> request_headers(path="/v1/models", end=True) << routed(BEST) << end


def test_an_empty_body_on_a_path_without_a_parser_is_one_empty_piece(pool: Pool) -> None:
    book = talk(pool) >> request_headers(path="/tokenize") >> request_body(b"")
    book << routed(BEST) << piece(Side.REQUEST, b"", end=True) << end


@given(cuts=st.lists(st.integers(0, len(PROMPT)), max_size=8))
def test_any_split_of_the_body_gives_the_same_bytes_and_the_same_pick(cuts: list[int]) -> None:
    pool = pool_of_three()
    book = talk(pool) >> request_headers()
    edges = [0, *sorted(cuts), len(PROMPT)]
    for start, stop in pairwise(edges):
        book >> request_body(PROMPT[start:stop], end=False) << end
    book >> request_body(b"") << routed(BEST)
    assert book.body(Side.REQUEST) == PROMPT
    assert book.replies[-1].end_of_stream  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("size", "count"), [(0, 0), (61_000, 1), (62_000, 1), (62_001, 2), (125_000, 3), (10 << 20, 170)]
)
def test_bodies_go_on_in_pieces_of_bounded_size(size: int, count: int) -> None:
    data = bytes(size)
    parts = pieces(Side.REQUEST, data, end_of_stream=False)
    assert len(parts) == count
    assert b"".join(part.data for part in parts if isinstance(part, Piece)) == data
    last = pieces(Side.REQUEST, data, end_of_stream=True)
    assert [part.end_of_stream for part in last if isinstance(part, Piece)] == [False] * (
        max(count, 1) - 1
    ) + [True]
    assert all(len(part.data) <= PIECE_BYTES for part in last if isinstance(part, Piece))


def test_an_upgraded_connection_is_routed_at_once_and_passes_in_both_directions(pool: Pool) -> None:
    book = talk(pool) >> request_headers(path="/v1/realtime", upgrade="websocket", connection="upgrade")
    book << routed(BEST) << end
    book >> request_body(b"frame", end=False) << piece(Side.REQUEST, b"frame") << end
    book >> response_headers(status=101, content_type="") << marked
    book >> response_body(b"echo") << piece(Side.RESPONSE, b"echo") << end
    book >> request_body(b"more", end=False) << piece(Side.REQUEST, b"more") << end
    assert pool.in_flight == 1
    book.stream.close()
    assert pool.in_flight == 0


@pytest.mark.parametrize("modes", [BUFFERED, Modes(BodyMode.STREAMED, BodyMode.BUFFERED)])
def test_an_upgrade_is_refused_where_the_filter_waits_for_its_end(pool: Pool, modes: Modes) -> None:
    book = talk(pool) >> request_headers(upgrade="websocket", modes=modes)
    book << refused(500, "inference error: Internal - the ext_proc filter waits for the end of a body") << end
    assert pool.in_flight == 0


def test_an_offer_of_h2c_is_no_upgrade(pool: Pool) -> None:
    book = talk(pool) >> request_headers(upgrade="h2c", connection="upgrade, http2-settings") << end
    book >> request_body(PROMPT) << routed(BEST) << piece(Side.REQUEST, PROMPT, end=True) << end


# === lock step, the request ===


def test_buffered_carries_the_destination_on_the_body_answer(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=BUFFERED) << HeadersReply(Side.REQUEST) << end
    book >> request_body(PROMPT) << routed(BEST) << end
    assert book.only(BodyReply).replacement is None


def test_buffered_with_trailers_decides_on_the_one_body_message(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=BUFFERED) >> request_body(PROMPT, end=False)
    book << HeadersReply(Side.REQUEST) << routed(BEST)
    book >> request_trailers() << TrailersReply(Side.REQUEST) << end


def test_buffered_with_trailers_alone_names_the_destination_in_metadata(pool: Pool) -> None:
    book = talk(pool) >> request_headers(path="/x", modes=BUFFERED) << HeadersReply(Side.REQUEST)
    book >> request_trailers() << routed(BEST) << end


@pytest.mark.parametrize("modes", [STREAMED, NONE, BUFFERED])
def test_lock_step_without_a_body_is_routed_by_its_headers(pool: Pool, modes: Modes) -> None:
    talk(pool) >> request_headers(path="/v1/models", end=True, modes=modes) << routed(BEST) << end


def test_streamed_is_routed_by_its_headers_and_each_part_is_answered(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=STREAMED) << routed(BEST) << end
    book >> request_body(PROMPT[:9], end=False) << BodyReply(Side.REQUEST) << end
    book >> request_body(PROMPT[9:]) << BodyReply(Side.REQUEST) << end


def test_streamed_learns_from_a_body_that_it_saw_too_late(pool: Pool) -> None:
    first = talk(pool) >> request_headers(modes=STREAMED) >> request_body(PROMPT)
    first.stream.close()
    pool.observe(waiting=[1, 0, 0], kv_usage=[0.2, 0.1, 0.1])
    assert pool.cached_blocks(PROMPT, 0) > 0


def test_streamed_replaces_the_body_at_its_end_where_the_model_name_changes(pool: Pool) -> None:
    headers = request_headers(modes=STREAMED, x_llm_d_model_name_rewrite="llama-v2")
    book = talk(pool) >> headers << routed(BEST)
    book >> request_body(PROMPT[:9], end=False) << BodyReply(Side.REQUEST, b"") << end
    book >> request_body(PROMPT[9:])
    assert json.loads(book.replies[-1].replacement)["model"] == "llama-v2"  # type: ignore[union-attr, arg-type]


def test_streamed_cannot_change_a_body_that_ends_with_trailers(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=STREAMED, x_llm_d_model_name_rewrite="llama-v2")
    book >> request_body(PROMPT, end=False) << routed(BEST) << BodyReply(Side.REQUEST, b"")
    book >> request_trailers() << refused(500, "FULL_DUPLEX_STREAMED") << end
    assert pool.in_flight == 0


def test_streamed_learns_from_a_body_that_ends_with_trailers(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=STREAMED) >> request_body(PROMPT, end=False)
    book >> request_trailers() << routed(BEST) << BodyReply(Side.REQUEST) << TrailersReply(Side.REQUEST)
    assert pool.cached_blocks(PROMPT, 0) > 0


def test_none_is_routed_by_its_headers_and_ends_with_the_conversation(pool: Pool) -> None:
    book = talk(pool) >> request_headers(modes=NONE) << routed(BEST)
    book >> response_headers() << marked << end
    assert pool.in_flight == 1
    book.stream.close()
    assert pool.in_flight == 0
    assert pool.sample("llm_d_epp_request_duration_seconds_count") == 1


@pytest.mark.parametrize("mode", [BodyMode.BUFFERED_PARTIAL, BodyMode.GRPC, 17])
def test_a_mode_that_is_not_served_says_so(pool: Pool, mode: BodyMode | int) -> None:
    name = mode.name if isinstance(mode, BodyMode) else "17"
    book = talk(pool) >> request_headers(modes=Modes(mode, BodyMode.NONE)) << refused(500, name) << end
    assert "FULL_DUPLEX_STREAMED" in book.only(Immediate).body
    talk(pool) >> request_headers(modes=Modes(BodyMode.NONE, mode)) << refused(500, name) << end


# === what goes along ===


def test_only_what_changes_is_sent(pool: Pool) -> None:
    book = talk(pool) >> request_headers(hi="mom", content_length=str(len(PROMPT))) >> request_body(PROMPT)
    mutation = book.only(HeadersReply).mutation
    assert mutation.set == (("x-gateway-destination-endpoint", BEST),)
    assert mutation.remove == ()


def test_control_headers_of_the_client_are_removed(pool: Pool) -> None:
    spoofed = request_headers(
        x_prefiller_host_port="6.6.6.6:1",
        x_encoder_hosts_ports="6.6.6.6:1",
        x_data_parallel_host_port="6.6.6.6:1",
        x_gateway_destination_endpoint="6.6.6.6:1",
        x_gateway_destination_endpoint_served="6.6.6.6:1",
    )
    mutation = (talk(pool) >> spoofed >> request_body(PROMPT)).only(HeadersReply).mutation
    assert set(mutation.remove) == {
        "x-prefiller-host-port",
        "x-encoder-hosts-ports",
        "x-data-parallel-host-port",
        "x-gateway-destination-endpoint",
        "x-gateway-destination-endpoint-served",
    }
    assert dict(mutation.set)["x-gateway-destination-endpoint"] == BEST


@pytest.mark.parametrize("given_id", ["", None])
def test_a_request_id_is_made_when_absent(pool: Pool, given_id: str | None) -> None:
    fields = {":path": "/v1/completions"} | ({} if given_id is None else {"x-request-id": given_id})
    book = talk(pool) >> Incoming(Side.REQUEST, Headers(fields, True))
    assert len(dict(book.only(HeadersReply).mutation.set)["x-request-id"]) == 36


def test_the_model_name_is_rewritten_and_given_back(pool: Pool) -> None:
    headers = request_headers(x_gateway_model_name_rewrite="llama-v2", content_length=str(len(PROMPT)))
    book = talk(pool) >> headers >> request_body(PROMPT) << routed(BEST)
    sent = book.body(Side.REQUEST)
    assert json.loads(sent) == json.loads(PROMPT) | {"model": "llama-v2"}
    assert dict(book.only(HeadersReply).mutation.set)["content-length"] == str(len(sent))
    book >> response_headers() >> response_body(ANSWER.replace(b"llama", b"llama-v2"), end=True)
    assert book.body(Side.RESPONSE) == ANSWER


def test_a_model_name_in_a_header_is_utf_8(pool: Pool) -> None:
    name = "modèle".encode().decode("latin-1")  # as the codec keeps the bytes of a header
    book = talk(pool) >> request_headers(x_llm_d_model_name_rewrite=name) >> request_body(PROMPT)
    assert json.loads(book.body(Side.REQUEST))["model"] == "modèle"


def test_a_model_name_split_over_two_events_is_given_back(pool: Pool) -> None:
    book = talk(pool) >> request_headers(x_llm_d_model_name_rewrite="v2") >> request_body(PROMPT)
    book >> response_headers(content_type="text/event-stream")
    book >> response_body(b'data: {"model":"v') >> response_body(b'2"}\n\n') >> response_body(b"", end=True)
    assert book.body(Side.RESPONSE) == b'data: {"model":"llama"}\n\n'


def test_a_new_header_beats_its_old_alias(pool: Pool) -> None:
    headers = request_headers(x_llm_d_model_name_rewrite="new", x_gateway_model_name_rewrite="old")
    book = talk(pool) >> headers >> request_body(PROMPT)
    assert json.loads(book.body(Side.REQUEST))["model"] == "new"


# === the subset hint ===


@pytest.mark.parametrize("where", ["headers", "body"])
@pytest.mark.parametrize("hint", [("10.0.0.3:8000",), ("10.0.0.3",), ("9.9.9.9:1", "10.0.0.3:8000")])
def test_only_the_subset_is_picked_from(pool: Pool, where: str, hint: tuple[str, ...]) -> None:
    on_headers = hint if where == "headers" else None
    on_body = hint if where == "body" else None
    book = talk(pool) >> request_headers(subset=on_headers) >> request_body(PROMPT, subset=on_body)
    book << routed("10.0.0.3:8000")


def test_the_port_of_a_subset_entry_counts(pool: Pool) -> None:
    book = talk(pool) >> request_headers(subset=("10.0.0.3:9999",)) >> request_body(PROMPT)
    book << refused(503, "failed to find endpoint candidates for serving the request") << end
    assert book.only(Immediate).headers == (("x-llm-d-request-dropped-reason", "rejected-no-endpoints"),)


@pytest.mark.parametrize("end_of_stream", [True, False])
def test_an_empty_subset_has_no_candidates(pool: Pool, end_of_stream: bool) -> None:
    book = talk(pool) >> request_headers(subset=(), end=end_of_stream)
    if not end_of_stream:
        book >> request_body(PROMPT)
    book << refused(503) << end


# === ranks behind one port ===

TWO = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}
"""


def test_a_request_for_a_rank_behind_a_shared_port_says_which() -> None:
    ranks = [
        Endpoint(f"pod-rank-{rank}", "10.0.0.7", 8000, pod="pod", rank=rank, split=True) for rank in (0, 1)
    ]
    other = Endpoint("plain", "10.0.0.8", 8000)
    pool = Pool([9.0, 0.0, 4.0], config=TWO, endpoints=[*ranks, other])
    book = talk(pool) >> request_headers(x_data_parallel_rank="5") >> request_body(PROMPT)
    # No second choice: the rank's header would be wrong there.
    book << routed("10.0.0.7:8000")
    assert dict(book.only(HeadersReply).mutation.set)["x-data-parallel-rank"] == "1"


def test_a_client_may_pin_a_rank_where_nobody_else_does(pool: Pool) -> None:
    book = talk(pool) >> request_headers(x_data_parallel_rank="5") >> request_body(PROMPT)
    mutation = book.only(HeadersReply).mutation
    assert "x-data-parallel-rank" not in {*dict(mutation.set), *mutation.remove}


# === only what is cached ===


def test_who_wants_only_what_is_cached_is_told_that_nobody_has_it(pool: Pool) -> None:
    long = json.dumps({"model": "tiny", "prompt": "a story of many words " * 100}).encode()
    wanted = request_headers(prefer="respond-async, if-available; wait=10")
    book = talk(pool) >> wanted >> request_body(long)
    book << refused(412, "PreconditionFailed - no decode worker has the requested KV cache") << end
    assert (pool.open, pool.in_flight) == (0, 0)

    served = talk(pool) >> request_headers() >> request_body(long)
    served << routed(BEST)
    book = talk(pool) >> wanted >> request_body(long)
    book << routed(BEST)
