"""Sessions: bound by a token or by a table, followed, moved, forgotten."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.attributes import agent_identity, session_id
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Filter, Learner, Responder, Scorer, Wiring
from endpoint_picker.scheduling import sessions
from endpoint_picker.scheduling.affinity import AffinityParameters
from endpoint_picker.scheduling.filters.session import MulticlusterSessionAffinity, SessionAffinity
from endpoint_picker.scheduling.scorers.session import SessionAffinity as Scoring
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of

BY_ID = {"strategy": "session_id"}


class Session:
    """A pool of three, a plugin for it, and a clock."""

    def __init__(self, kind: Any = SessionAffinity, **parameters: Any) -> None:
        self.now = 0.0
        self.table: EndpointTable = table_of((), [{}, {}, {}])
        self.wiring = Wiring(self.table, Metrics(), clock=lambda: self.now)
        self.kind = kind
        self.plugin = self.built(**parameters)

    def built(self, **parameters: Any) -> Any:
        block = PluginBlock(type=self.kind.type, name="s", parameters=parameters)
        found = load.parameters(block, AffinityParameters, source="epp.yaml")
        return self.kind("s", found, self.wiring)

    def request(self, headers: Mapping[str, str] | None = None) -> Request:
        request = request_with(self.table)
        request.headers = headers or {}
        return request

    def kept(self, headers: Mapping[str, str], rows: Sequence[int] | None = None) -> list[bool]:
        mask = self.plugin.keep(self.request(headers), candidates_of(self.table, rows))
        assert mask.dtype == np.bool_
        return list(map(bool, mask))

    def goes(self, row: int, headers: Mapping[str, str], among: Sequence[int] = (0, 1, 2)) -> None:
        self.plugin.learn(self.request(headers), self.decision(row, among=among))

    def decision(self, row: int, among: Sequence[int] = (0, 1, 2), **others: int) -> Decision:
        results = {name: self.result(name, [at], among) for name, at in others.items()}
        primary = self.result("default", [row], among)
        return Decision(primary, {"default": primary, **results})

    def result(self, name: str, rows: Sequence[int], among: Sequence[int] = (0, 1, 2)) -> ProfileResult:
        endpoints = tuple(self.table[row] for row in rows)
        return ProfileResult(name, tuple(rows), endpoints, np.array(among), np.zeros(len(among)))


def token(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# === a token that the client carries ===


@pytest.mark.parametrize("kind", [SessionAffinity, MulticlusterSessionAffinity])
def test_the_filter_keeps_only_the_endpoint_of_the_token(kind: Any) -> None:
    session = Session(kind)
    assert session.kept({"x-session-token": token("default/pod-1")}) == [False, True, False]
    assert session.kept({"x-session-token": token("default/pod-1")}, [1, 2]) == [True, False]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "not base64!",
        "ZGVmYXVsdC9wb2QtMQ",  # without its padding
        token("default/pod-9"),
        token("pod-1"),
        base64.b64encode(b"\xff\xfe").decode(),
        "ü",
        token("x" * 5000),
    ],
)
def test_a_token_that_means_nobody_is_ignored(value: str) -> None:
    assert Session().kept({"x-session-token": value}) == [True, True, True]


def test_without_a_token_or_without_its_endpoint_everybody_stays() -> None:
    session = Session()
    assert session.kept({}) == [True, True, True]
    assert session.kept({"x-session-token": token("default/pod-1")}, [0, 2]) == [True, True]


def test_the_scorer_gives_1_to_the_endpoint_of_the_token() -> None:
    session = Session(Scoring)
    request = session.request({"x-session-token": token("default/pod-2")})
    assert session.plugin.score(request, candidates_of(session.table)).tolist() == [0.0, 0.0, 1.0]
    assert session.plugin.score(request, candidates_of(session.table, [0, 1])).tolist() == [0.0, 0.0]
    assert session.plugin.score(session.request(), candidates_of(session.table)).tolist() == [0.0] * 3


def test_the_response_tells_the_token_of_the_chosen_endpoint() -> None:
    session = Session()
    fields = session.plugin.respond(session.request(), session.decision(1))
    assert fields == {"x-session-token": token("default/pod-1")}
    assert session.kept(fields) == [False, True, False]


def test_the_response_tells_who_served_where_another_did() -> None:
    session = Session()
    primary = session.result("default", [1, 2])
    request = session.request()
    request.served = session.table[2].host_port
    decision = Decision(primary, {"default": primary})
    assert session.plugin.respond(request, decision) == {"x-session-token": token("default/pod-2")}
    request.served = "10.9.9.9:1"
    assert session.plugin.respond(request, decision) == {"x-session-token": token("default/pod-1")}


def test_another_header_and_another_profile() -> None:
    session = Session(profileName="prefill", encodedEndpointHeaderConfig={"header": "X-Mine"})
    told = session.plugin.respond(session.request(), session.decision(1, prefill=2))
    assert told == {"x-mine": token("default/pod-2")}
    assert session.kept(told) == [False, False, True]
    assert session.plugin.respond(session.request(), session.decision(1)) == {}


def test_a_token_learns_nothing() -> None:
    session = Session()
    session.goes(1, {"x-session-id": "a"})
    session.plugin.learn_at(session.request(), 2)
    assert session.kept({"x-session-id": "a"}) == [True, True, True]


def test_sources_without_their_strategy_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    Session(sessionIdConfig={"sources": [{"header": "x"}]})
    assert caplog.messages == ["s: sessionIdConfig has no effect; write strategy: session_id for it"]


# === a table of sessions ===


def test_a_session_stays_where_it_went_first() -> None:
    session = Session(**BY_ID)
    assert session.kept({"x-session-id": "a"}) == [True, True, True]
    session.goes(1, {"x-session-id": "a"})
    assert session.kept({"x-session-id": "a"}) == [False, True, False]
    assert session.kept({"x-session-id": "b"}) == [True, True, True]
    assert session.kept({}) == [True, True, True]
    assert session.plugin.respond(session.request({"x-session-id": "a"}), session.decision(1)) == {}


def test_a_session_that_could_have_stayed_and_did_not_stays_bound() -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    session.goes(2, {"x-session-id": "a"})
    assert session.kept({"x-session-id": "a"}) == [False, True, False]


def test_a_session_is_bound_anew_where_its_endpoint_is_no_candidate() -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    session.goes(2, {"x-session-id": "a"}, among=[0, 2])
    assert session.kept({"x-session-id": "a"}) == [False, False, True]


def test_a_session_is_bound_anew_where_its_endpoint_is_gone() -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    session.table.replace([endpoint(0), endpoint(2)])
    assert session.kept({"x-session-id": "a"}) == [True, True]
    session.goes(2, {"x-session-id": "a"}, among=[0, 2])
    assert session.kept({"x-session-id": "a"}) == [False, True]


def test_a_session_follows_to_the_endpoint_that_served_it() -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    session.plugin.learn_at(session.request({"x-session-id": "a"}), 2)
    assert session.kept({"x-session-id": "a"}) == [False, False, True]


def test_a_named_profile_is_bound_where_it_ran() -> None:
    session = Session(**BY_ID, profileName="prefill")
    named = session.request({"x-session-id": "a"})
    session.plugin.learn(named, session.decision(1))
    assert session.kept(named.headers) == [True, True, True]
    session.plugin.learn(named, session.decision(1, prefill=0))
    session.plugin.learn_at(named, 2)  # that was the primary profile's
    assert session.kept(named.headers) == [True, False, False]


def test_the_first_source_that_says_something_counts() -> None:
    sources = [
        {"header": "X-One"},
        {"attribute": "SessionID", "producer": "mine"},
        {"attribute": "agent-identity"},
    ]
    session = Session(**BY_ID, sessionIdConfig={"sources": sources})
    assert list(session.plugin.requires()) == [session_id("mine")]
    for row, named in enumerate(("header", "fact", "agent")):
        request = session.request({"x-one": "header"} if named == "header" else {"x-one": " "})
        if named != "agent":
            request.attributes.write(session_id("mine"), "fact")
        request.attributes.write(agent_identity(), "agent")
        session.plugin.learn(request, session.decision(row))
        mask = session.plugin.keep(request, candidates_of(session.table))
        assert mask.tolist() == [at == row for at in range(3)]
    assert len(session.plugin._way) == 3


@pytest.mark.parametrize("attribute", ["SessionID", "SessionIDDataKey"])
def test_the_session_of_the_default_producer_needs_no_producer(attribute: str) -> None:
    session = Session(**BY_ID, sessionIdConfig={"sources": [{"attribute": attribute}]})
    assert list(session.plugin.requires()) == [session_id()]


def test_a_binding_ends_when_it_is_not_used() -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    session.now = 200.0
    session.goes(1, {"x-session-id": "a"})
    session.now = 500.0  # 300 after the last use
    assert session.kept({"x-session-id": "a"}) == [False, True, False]
    session.now = 500.1
    assert session.kept({"x-session-id": "a"}) == [True, True, True]


def test_ended_bindings_are_let_go_at_the_next_sweep() -> None:
    times = {"evictionTtlSeconds": 20, "evictionSweepSeconds": 50}
    session = Session(**BY_ID, sessionIdConfig=times)
    session.goes(1, {"x-session-id": "a"})
    session.now = 30.0
    session.goes(1, {"x-session-id": "b"})
    assert len(session.plugin._way) == 2
    session.now = 50.0  # a is 50 old, b 20
    session.goes(1, {"x-session-id": "c"})
    assert len(session.plugin._way) == 2
    assert session.kept({"x-session-id": "b"}) == [False, True, False]


def test_the_oldest_bindings_are_let_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    session = Session(**BY_ID)
    for name in ("a", "b", "a", "c"):
        session.goes(1, {"x-session-id": name})
    assert len(session.plugin._way) == 2
    assert session.kept({"x-session-id": "b"}) == [True, True, True]
    assert session.kept({"x-session-id": "a"}) == [False, True, False]


def test_a_new_configuration_goes_on_with_the_bindings() -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    old, session.plugin = session.plugin, session.built(**BY_ID, sessionIdConfig={"evictionTtlSeconds": 9})
    session.plugin.adopt(old)
    assert session.kept({"x-session-id": "a"}) == [False, True, False]
    session.now = 10.0
    assert session.kept({"x-session-id": "a"}) == [True, True, True]


@pytest.mark.parametrize(
    "other",
    [
        {**BY_ID, "sessionIdConfig": {"sources": [{"header": "x-other"}]}},
        {**BY_ID, "profileName": "prefill"},
        {},
    ],
)
def test_bindings_of_other_names_or_of_another_profile_are_left_behind(other: dict[str, Any]) -> None:
    session = Session(**BY_ID)
    session.goes(1, {"x-session-id": "a"})
    old, session.plugin = session.plugin, session.built(**other)
    session.plugin.adopt(old)
    assert session.kept({"x-session-id": "a", "x-other": "a"}) == [True, True, True]


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"strategy": "session_id_header"}, "strategy"),
        ({"headerName": "x"}, "headerName"),
        ({"sessionIdConfig": {"sources": [{}]}}, "exactly one of them"),
        ({"sessionIdConfig": {"sources": [{"header": "a", "attribute": "b"}]}}, "exactly one of them"),
        ({"sessionIdConfig": {"sources": [{"attribute": "SessionID/x"}]}}, "as producer"),
        (
            {"sessionIdConfig": {"evictionTtlSeconds": -1}},
            "evictionTtlSeconds is -1.0; it must be more than 0",
        ),
        ({"sessionIdConfig": {"evictionSweepSeconds": 0}}, "evictionSweepSeconds is 0.0; it must be more"),
    ],
)
def test_parameters_that_make_no_sense(parameters: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=r"epp\.yaml") as caught:
        Session(**parameters)
    assert part in str(caught.value)


def test_the_plugins_serve_their_extension_points() -> None:
    filtering, scoring = Session().plugin, Session(Scoring).plugin
    assert isinstance(filtering, Filter)
    assert isinstance(scoring, Scorer)
    for plugin in (filtering, scoring):
        assert isinstance(plugin, Learner)
        assert isinstance(plugin, Responder)
