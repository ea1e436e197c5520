"""Handlers of several stages: order, results, headers, what is left out, and what ends a request."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core import attributes
from endpoint_picker.core.decision import Decision, Inline
from endpoint_picker.core.endpoints import Endpoint
from endpoint_picker.core.errors import Refusal, ResourceExhausted, ServiceUnavailable
from endpoint_picker.core.request import Medium, Payload, Request
from endpoint_picker.scheduling.disagg.deciders import WithMedia
from endpoint_picker.scheduling.disagg.handlers import DisaggProfiles, PrefillDecode, Staged
from endpoint_picker.testing import candidates_of, make, request_with
from tests.fakes.stages import Fixed, Pool

PODS = (("decode", 3), ("decode", 1), ("prefill", 4), ("prefill", 2), ("encode", 6), ("encode", 5))
"""The shortest queues are those of rows 1, 3 and 5."""
HANDLER = {"plugin_name": "h", "plugin_type": "disagg-profile-handler"}
PEER = attributes.peer()


def decisions(pool: Pool, kind: str, model: str = "m") -> float:
    return pool.counted("disagg_decision_total", **HANDLER, model_name=model, decision_type=kind)


@pytest.mark.parametrize(
    ("prefill", "encode", "headers", "kind"),
    [
        (None, None, (), "decode-only"),
        (False, False, (), "decode-only"),
        (True, False, (("x-prefiller-host-port", "10.0.0.3:8000"),), "prefill-decode"),
        (False, True, (("x-encoder-hosts-ports", "10.0.0.5:8000"),), "encode-decode"),
        (
            True,
            True,
            (("x-prefiller-host-port", "10.0.0.3:8000"), ("x-encoder-hosts-ports", "10.0.0.5:8000")),
            "encode-prefill-decode",
        ),
    ],
)
def test_stages_run_where_their_deciders_say_so(
    prefill: bool | None, encode: bool | None, headers: Any, kind: str
) -> None:
    pool = Pool(*PODS)
    answers = {"prefill": prefill, "encode": encode}
    deciders = {stage: pool.says(said) for stage, said in answers.items() if said is not None}
    decision = pool.choose(pool.handler(DisaggProfiles, deciders))
    assert decision.destination == "10.0.0.1:8000"
    assert decision.primary.profile == "decode"
    assert decision.headers == headers
    assert decision.results == {
        result.profile: result for result in (decision.primary, decision.prefill, decision.encode) if result
    }
    assert (decision.prefill is not None, decision.encode is not None) == (bool(prefill), bool(encode))
    assert (decision.inline, decision.port) == (None, None)
    # Each decider is asked once, about the endpoint that decodes.
    assert [each.asked for each in deciders.values()] == [[1]] * len(deciders)
    assert decisions(pool, kind) == 1
    assert pool.metrics.registry.get_sample_value(
        "llm_d_inference_scheduler_disagg_decision_total", {"model_name": "m", "decision_type": kind}
    )


def test_a_model_that_is_not_named_is_unknown() -> None:
    pool = Pool(*PODS)
    pool.choose(pool.handler(DisaggProfiles, {}), request=request_with(pool.table, model=""))
    assert decisions(pool, "decode-only", "unknown") == 1


def test_all_that_were_picked_encode_and_one_prefills() -> None:
    pool = Pool(*PODS, most=2)
    decision = pool.choose(
        pool.handler(DisaggProfiles, {"prefill": pool.says(True), "encode": pool.says(True)})
    )
    assert decision.destination == "10.0.0.1:8000,10.0.0.0:8000"
    assert decision.headers == (
        ("x-prefiller-host-port", "10.0.0.3:8000"),
        ("x-encoder-hosts-ports", "10.0.0.5:8000,10.0.0.4:8000"),
    )


def test_addresses_of_version_6_are_in_brackets() -> None:
    pool = Pool(("decode", 0), ("prefill", 0), ("encode", 0))
    pool.table.replace(
        [
            Endpoint("d", "::1", 8000, labels={"llm-d.ai/role": "decode"}),
            Endpoint("p", "::2", 8001, labels={"llm-d.ai/role": "prefill"}),
            Endpoint("e", "::3", 8002, labels={"llm-d.ai/role": "encode"}),
        ]
    )
    deciders = {"prefill": pool.says(True), "encode": pool.says(True)}
    decision = pool.choose(pool.handler(DisaggProfiles, deciders))
    assert dict(decision.headers) == {
        "x-prefiller-host-port": "[::2]:8001",
        "x-encoder-hosts-ports": "[::3]:8002",
    }


# === orders ===


def logged(pool: Pool) -> list[tuple[str, int | None]]:
    """Is filled with each profile that runs, and the peer that it is told."""
    found: list[tuple[str, int | None]] = []
    for name, profile in list(pool.profiles.items()):

        def run(request: Any, candidates: Any, profile: Any = profile, name: str = name) -> Any:
            found.append((name, request.attributes.read(PEER)))
            return profile.run(request, candidates)

        logging: Any = type("Logging", (), {"name": name, "run": staticmethod(run)})()
        pool.profiles[name] = logging
    return found


def test_decode_comes_first_and_is_told_to_the_others() -> None:
    pool = Pool(*PODS)
    ran = logged(pool)
    pool.choose(pool.handler(DisaggProfiles, {"prefill": pool.says(True), "encode": pool.says(True)}))
    assert ran == [("decode", None), ("encode", 1), ("prefill", 1)]


def test_prefill_may_come_first_and_is_told_to_decode() -> None:
    pool = Pool(*PODS)
    ran, media = logged(pool), pool.says(True)
    decision = pool.choose(pool.handler(DisaggProfiles, {"encode": media}, stageOrder="prefill-first"))
    assert ran == [("prefill", None), ("encode", 3), ("decode", 3)]
    # Who decodes is not known when it is asked.
    assert media.asked == [None]
    assert decision.row == 1
    assert decisions(pool, "encode-prefill-decode") == 1


def test_media_are_encoded_in_either_order() -> None:
    pool = Pool(*PODS)
    request = request_with(pool.table)
    request.payload = Payload("m", media=(Medium("image", b"12345678"),))
    for order in ("decode-first", "prefill-first"):
        handler = pool.handler(DisaggProfiles, {"encode": make(WithMedia, pool.table)}, stageOrder=order)
        assert pool.choose(handler, request=request).encode is not None
        assert pool.choose(handler).encode is None


# === what is left out ===


@pytest.mark.parametrize("stage", ["prefill", "encode"])
def test_a_stage_without_profile_is_off(stage: str) -> None:
    pool = Pool(*PODS)
    del pool.profiles[stage]
    decider = pool.says(True)
    decision = pool.choose(pool.handler(DisaggProfiles, {stage: decider}))
    assert (decision.headers, decider.asked) == ((), [])
    assert decisions(pool, "decode-only") == 1


@pytest.mark.parametrize("order", ["decode-first", "prefill-first"])
@pytest.mark.parametrize(
    ("pods", "room", "reason"),
    [
        ((("decode", 1),), 100.0, "no-endpoint"),
        ((("decode", 1), ("", 5), ("encode", 1)), 100.0, "no-endpoint"),
        ((("decode", 1), ("prefill", 50)), 10.0, "filtered-out"),
    ],
)
def test_a_prefill_without_endpoints_degrades_and_is_counted(
    order: str, pods: tuple[tuple[str, float], ...], room: float, reason: str
) -> None:
    pool = Pool(*pods, room=room)
    deciders = {} if order == "prefill-first" else {"prefill": pool.says(True)}
    decision = pool.choose(pool.handler(DisaggProfiles, deciders, stageOrder=order))
    assert (decision.row, decision.prefill, decision.headers) == (0, None, ())
    assert "prefill" not in decision.results
    assert pool.counted("disagg_stages_skipped_total", **HANDLER, stage="prefill", reason=reason) == 1
    assert decisions(pool, "decode-only") == 1


def test_so_does_an_encoder() -> None:
    pool = Pool(("decode", 1), ("prefill", 1))
    deciders = {"prefill": pool.says(True), "encode": pool.says(True)}
    decision = pool.choose(pool.handler(DisaggProfiles, deciders))
    assert decision.headers == (("x-prefiller-host-port", "10.0.0.1:8000"),)
    assert pool.counted("disagg_stages_skipped_total", **HANDLER, stage="encode", reason="no-endpoint") == 1
    assert decisions(pool, "prefill-decode") == 1


def test_nothing_is_counted_as_skipped_where_nobody_wanted_it() -> None:
    pool = Pool(("decode", 1))
    pool.choose(pool.handler(DisaggProfiles, {"prefill": pool.says(False)}))
    assert pool.counted("disagg_stages_skipped_total", **HANDLER, stage="prefill", reason="no-endpoint") == 0


@pytest.mark.parametrize("order", ["decode-first", "prefill-first"])
def test_whoever_decodes_needs_nobody_to_send_it_its_own_prompt(order: str) -> None:
    """On purpose: elsewhere the header would name the endpoint itself."""
    pool = Pool(("encode-prefill-decode", 1), ("prefill", 5), ("encode", 5))
    deciders = {"prefill": pool.says(True), "encode": pool.says(True)}
    if order == "prefill-first":
        del deciders["prefill"]
    decision = pool.choose(pool.handler(DisaggProfiles, deciders, stageOrder=order))
    assert (decision.row, decision.headers) == (0, ())
    assert (decision.prefill, decision.encode) == (None, None)
    assert decision.results.keys() == {"decode", "prefill", "encode"}
    assert decisions(pool, "decode-only") == 1


def test_whoever_decodes_may_encode_together_with_others() -> None:
    pool = Pool(("encode-prefill-decode", 1), ("encode", 5), most=2)
    decision = pool.choose(pool.handler(DisaggProfiles, {"encode": pool.says(True)}))
    assert decision.headers == (("x-encoder-hosts-ports", "10.0.0.0:8000,10.0.0.1:8000"),)


def test_ranks_behind_one_port_are_no_two_places() -> None:
    pool = Pool(("decode", 1), ("prefill", 1))
    one = [Endpoint(name, "10.0.0.9", 8000, labels={"llm-d.ai/role": name}) for name in ("decode", "prefill")]
    pool.table.replace(one)
    decision = pool.choose(pool.handler(DisaggProfiles, {"prefill": pool.says(True)}))
    assert decision.prefill is None


@pytest.mark.parametrize("answer", [RuntimeError("broken"), None, "yes", 1])
def test_a_decider_that_fails_says_no(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(*PODS)
    decision = pool.choose(pool.handler(DisaggProfiles, {"prefill": pool.says(answer)}))
    assert (decision.row, decision.prefill) == (1, None)
    (record,) = caplog.records
    assert record.getMessage() == "decider d (type decides) failed, which counts as no; request r-1"
    labels = {"extension_point": "Decider", "plugin_type": "decides", "plugin_name": "d"}
    assert pool.counted("plugin_failures_total", **labels) == 1
    assert pool.counted("plugin_duration_seconds_count", **labels) == 1


# === decode is a must ===


def refusal(pool: Pool, kind: Any = DisaggProfiles, rows: list[int] | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        pool.choose(pool.handler(kind, {"prefill": pool.says(True)}), rows=rows)
    for decided in ("decode-only", "prefill-decode"):
        assert decisions(pool, decided) == 0
    return caught.value


@pytest.mark.parametrize("kind", [DisaggProfiles, PrefillDecode])
def test_filters_that_leave_no_decoder_are_429(kind: Any) -> None:
    found = refusal(Pool(("decode", 50), ("prefill", 1), room=10.0), kind)
    assert isinstance(found, ResourceExhausted)
    assert (found.message, found.reason) == (
        "no endpoints available for the given request",
        "rejected-saturated",
    )


@pytest.mark.parametrize("kind", [DisaggProfiles, PrefillDecode])
@pytest.mark.parametrize("rows", [None, []])
def test_no_decoder_at_all_is_503(kind: Any, rows: list[int] | None) -> None:
    found = refusal(Pool(("prefill", 1), ("encode", 1)), kind, rows)
    assert isinstance(found, ServiceUnavailable)
    assert found.reason == "rejected-no-endpoints"
    assert found.message == (
        "failed to find available decode workers: no endpoint has the labels that the profile decode asks for"
    )


def test_the_refusal_of_another_profile_is_kept() -> None:
    pool = Pool(*PODS)
    pool.profiles["decode"] = Fixed("decode")
    with pytest.raises(ResourceExhausted, match="nobody"):
        pool.choose(pool.handler(DisaggProfiles, {}))


# === inline ===


def test_inline_names_no_prefiller_and_says_how() -> None:
    pool = Pool(*PODS)
    deciders = {"prefill": pool.says(True), "encode": pool.says(True)}
    inline = {"timeout": "2s", "maxConcurrentPerEndpoint": 7, "scheme": "https", "insecureSkipVerify": True}
    handler = pool.handler(DisaggProfiles, deciders, disaggregation="inline", inline=inline)
    decision = pool.choose(handler)
    assert decision.headers == (("x-encoder-hosts-ports", "10.0.0.5:8000"),)
    assert decision.prefill is not None
    assert decision.prefill.rows == (3,)
    assert decision.inline == Inline(2.0, 7, "https", False)
    assert decisions(pool, "encode-prefill-decode") == 1


def test_inline_without_prefill_is_an_ordinary_request() -> None:
    pool = Pool(*PODS)
    handler = pool.handler(DisaggProfiles, {"prefill": pool.says(False)}, disaggregation="inline")
    assert pool.choose(handler).inline is None


# === names of one's own ===


@pytest.mark.parametrize(
    "written",
    [
        {"profiles": {"decode": "d", "prefill": "p", "encode": "e"}},
        {"decodeProfile": "d", "prefillProfile": "p", "encodeProfile": "e"},
    ],
)
def test_profiles_may_have_other_names(written: dict[str, Any]) -> None:
    pool = Pool(*PODS)
    pool.profiles = {
        "d": Fixed("d", 0),
        "p": Fixed("p", 2),
        "e": Fixed("e", 4),
        "prefill": Fixed("prefill", 3),
    }
    deciders = {"prefill": pool.says(True), "encode": pool.says(True)}
    decision = pool.choose(pool.handler(DisaggProfiles, deciders, **written))
    assert decision.results.keys() == {"d", "p", "e"}
    assert decision.headers == (
        ("x-prefiller-host-port", "10.0.0.2:8000"),
        ("x-encoder-hosts-ports", "10.0.0.4:8000"),
    )


# === the older handler ===

OLDER = {"plugin_name": "h", "plugin_type": "pd-profile-handler", "model_name": "m"}


@pytest.mark.parametrize(("answer", "kind"), [(True, "prefill-decode"), (False, "decode-only")])
def test_the_older_handler_has_two_stages_and_a_counter_of_its_own(answer: bool, kind: str) -> None:
    pool = Pool(*PODS)
    decision = pool.choose(pool.handler(PrefillDecode, {"prefill": pool.says(answer)}))
    assert (decision.prefill is not None) == answer
    assert decision.headers == ((("x-prefiller-host-port", "10.0.0.3:8000"),) if answer else ())
    assert decision.port is None
    assert pool.counted("pd_decision_total", **OLDER, decision_type=kind) == 1
    assert decisions(pool, kind) == 0


def test_a_primary_port_stands_for_all_ranks_of_a_pod() -> None:
    pool = Pool(*PODS, most=2)
    decision = pool.choose(pool.handler(PrefillDecode, {"prefill": pool.says(True)}, primaryPort=9000))
    assert decision.destination == "10.0.0.1:9000"
    assert dict(decision.headers) == {
        "x-data-parallel-host-port": "10.0.0.1:8000",
        "x-prefiller-host-port": "10.0.0.3:8000",
    }


# === whatever is decided ===


DECODERS = {"", "decode", "both", "encode-prefill-decode"}


def outcome(pool: Pool, handler: Staged, request: Request) -> Decision | Refusal:
    try:
        return pool.choose(handler, request=request)
    except Refusal as refusal:
        return refusal


@settings(max_examples=150, deadline=None)
@given(
    pods=st.lists(
        st.tuples(
            st.sampled_from(["", "decode", "prefill", "encode", "both", "encode-prefill-decode", "other"]),
            st.integers(0, 20).map(float),
        ),
        min_size=1,
        max_size=6,
    ),
    prefill=st.sampled_from([True, False, None, "junk", ValueError("x")]),
    encode=st.sampled_from([True, False, ValueError("x")]),
    kind=st.sampled_from([DisaggProfiles, PrefillDecode]),
    first=st.booleans(),
    most=st.integers(1, 3),
    inline=st.booleans(),
)
def test_whatever_deciders_say_the_decode_result_is_the_primary_one(
    pods: list[tuple[str, float]],
    prefill: Any,
    encode: Any,
    kind: Any,
    first: bool,
    most: int,
    inline: bool,
) -> None:
    pool = Pool(*pods, most=most, room=15.0)
    parameters: dict[str, Any] = {"disaggregation": "inline" if inline else "sidecar"}
    deciders = {"prefill": pool.says(prefill), "encode": pool.says(encode)}
    if first and kind is DisaggProfiles:
        parameters["stageOrder"] = "prefill-first"
    request = request_with(pool.table)
    waiting = [waiting for role, waiting in pods if role in DECODERS]
    decision = outcome(pool, pool.handler(kind, deciders, **parameters), request)
    if isinstance(decision, Refusal):
        assert min(waiting, default=99.0) > 15.0
        assert decision.status == (429 if waiting else 503)
        return
    alone = pool.profiles["decode"].run(request, candidates_of(pool.table))
    assert decision.primary.profile == "decode"
    assert {*decision.primary.rows} <= {*alone.scored_rows.tolist()}
    told = dict(decision.headers)
    assert ("x-prefiller-host-port" in told) == (decision.prefill is not None and not inline)
    assert ("x-encoder-hosts-ports" in told) == (decision.encode is not None)
    assert (decision.inline is not None) == (decision.prefill is not None and inline)
    if decision.prefill is not None:
        assert decision.prefill.rows[0] != decision.row
        assert first or prefill is True
