"""Plugins that show on the wire: what the client is told, and what goes along with the request."""

from typing import Any, Final

import pytest

from endpoint_picker.extproc.messages import HeadersReply, Side
from tests.fakes.playbook import request_body, request_headers, response_headers, routed
from tests.fakes.routing import Pool
from tests.fakes.talks import BEST, PROMPT, talk

HEAD: Final = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
SESSIONS: Final = "- {type: queue-scorer}\n- {type: session-affinity-filter%s}\n"
RANKS: Final = (
    "- {type: data-parallel-profile-handler, parameters: {primaryPort: 9000}}\n- {type: queue-scorer}\n"
)


def pool_with(plugins: str) -> Pool:
    return Pool(waiting=[0, 5, 9], config=HEAD + plugins, experimental=True)


def told(pool: Pool, **headers: Any) -> tuple[str, dict[str, str]]:
    """Where a request goes, and the header fields that its response takes to the client."""
    book = talk(pool) >> request_headers(**headers) >> request_body(PROMPT) >> response_headers()
    request, response = (reply for reply in book.replies if isinstance(reply, HeadersReply))
    assert (request.side, response.side) == (Side.REQUEST, Side.RESPONSE)
    return dict(request.mutation.set)["x-gateway-destination-endpoint"], dict(response.mutation.set)


def test_a_client_that_sends_its_token_back_stays_where_it_was() -> None:
    pool = pool_with(SESSIONS % "")
    first, fields = told(pool)
    assert first == BEST
    pool.observe([9, 5, 0], [0.0] * 3)
    elsewhere, _ = told(pool)
    again, repeated = told(pool, x_session_token=fields["x-session-token"])
    assert (elsewhere, again) == ("10.0.0.3:8000", BEST)
    assert repeated["x-session-token"] == fields["x-session-token"]


def test_a_session_that_names_itself_stays_where_it_was() -> None:
    pool = pool_with(SESSIONS % ", parameters: {strategy: session_id}")
    assert told(pool, x_session_id="a") == (BEST, {"x-went-into-resp-headers": "true"})
    pool.observe([9, 5, 0], [0.0] * 3)
    assert [told(pool, x_session_id=name)[0] for name in "ab"] == [BEST, "10.0.0.3:8000"]


def test_a_session_follows_to_the_replica_that_served_it() -> None:
    pool = pool_with(SESSIONS % ", parameters: {strategy: session_id}")
    book = talk(pool) >> request_headers(x_session_id="a") >> request_body(PROMPT)
    book << routed(BEST) >> response_headers(served="10.0.0.2:8000")
    assert told(pool, x_session_id="a")[0] == "10.0.0.2:8000"


@pytest.mark.parametrize("spoofed", [False, True])
def test_a_rank_is_named_beside_its_pods_port(spoofed: bool) -> None:
    headers: dict[str, Any] = {"x_data_parallel_host_port": "6.6.6.6:1"} if spoofed else {}
    book = talk(pool_with(RANKS)) >> request_headers(**headers) >> request_body(PROMPT)
    mutation = book.only(HeadersReply).mutation
    assert dict(mutation.set)["x-data-parallel-host-port"] == BEST
    assert dict(mutation.set)["x-gateway-destination-endpoint"] == "10.0.0.1:9000"
    assert mutation.destination == "10.0.0.1:9000"
    # What is set must not be removed as well: it replaces the client's own value.
    assert mutation.remove == ()


def test_the_proxy_of_a_pod_is_not_taken_for_another_rank() -> None:
    pool = pool_with(RANKS.replace("9000", "8000"))
    pool.observe([9, 0, 9], [0.0] * 3)
    book = talk(pool) >> request_headers() >> request_body(PROMPT)
    book << routed("10.0.0.2:8000") >> response_headers(served="10.0.0.1:8000")
    assert [pool.in_flight_at(row) for row in range(3)] == [0, 1, 0]
