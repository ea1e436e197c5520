"""Rollouts: one revision for each request, by weight or by header, and what the client is told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from endpoint_picker.admission.screeners import Rollout
from endpoint_picker.config import load
from endpoint_picker.config.schema import PluginBlock
from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Responder, Screener
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of, wiring_of

SET = "disaggregatedset.x-k8s.io"
REVISION, ROLE, SLICE = f"{SET}/revision", f"{SET}/role", f"{SET}/slice"
STRICT = {"name": "revision", "headerName": "X-Revision", "labelKey": REVISION, "mode": "strict"}
PREFER = {"name": "slice", "headerName": "x-slice", "labelKey": SLICE, "mode": "prefer"}


def replica(revision: str, role: str, **more: str) -> Mapping[str, str]:
    return {"app": "vllm", REVISION: revision, ROLE: role, **more}


def replicas(**counts: tuple[int, int]) -> list[Mapping[str, str]]:
    """By revision: so many that prefill, so many that decode."""
    return [
        replica(revision, role)
        for revision, both in counts.items()
        for role, count in zip(("prefill", "decode"), both, strict=True)
        for _ in range(count)
    ]


def written(mode: str = "sum", *headers: Mapping[str, str], **gating: Any) -> dict[str, Any]:
    roles = {} if mode == "disabled" else {"requireRoles": {"values": ["prefill", "decode"]}}
    return {
        "scope": {"labelSelector": "app=vllm"},
        "headerSelectors": list(headers),
        "revisionGating": {"mode": mode, **roles, **gating},
    }


def built(table: EndpointTable, parameters: dict[str, Any]) -> Rollout:
    block = PluginBlock(type=Rollout.type, name="s", parameters=parameters)
    found = load.parameters(block, Rollout.schema, source="epp.yaml")
    try:
        plugin = Rollout("s", found, wiring_of(table, seed=3))  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    assert isinstance(plugin, Screener)
    assert isinstance(plugin, Responder)
    return plugin


def asking(table: EndpointTable, **headers: str) -> Request:
    request = request_with(table)
    request.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return request


def kept(
    screener: Rollout, table: EndpointTable, rows: Sequence[int] | None = None, **headers: str
) -> list[Mapping[str, str]]:
    """Labels of those that stay."""
    candidates = candidates_of(table, rows)
    mask = screener.screen(asking(table, **headers), candidates)
    assert mask.dtype == bool
    assert mask.shape == (len(candidates),)
    return [each.labels for each in candidates.where(mask)] if mask.any() else []


def shares(table: EndpointTable, parameters: dict[str, Any], rounds: int = 3000) -> dict[str, float]:
    """How often each revision is chosen; each time all of it, and nobody else, stays."""
    screener, chosen = built(table, parameters), Counter[str]()
    everybody = [each.labels for each in candidates_of(table)]
    for _ in range(rounds):
        stays = kept(screener, table)
        revision = stays[0][REVISION]
        assert stays == [labels for labels in everybody if labels.get(REVISION) == revision]
        chosen[revision] += 1
    return {revision: count / rounds for revision, count in chosen.items()}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sum", {"a": 11 / 13, "b": 2 / 13}),  # (2 + 9) : (1 + 1)
        ("max-role", {"a": 0.9, "b": 0.1}),  # decode is the largest role, 10 against 3: 9 : 1
    ],
)
def test_revisions_are_drawn_by_weight(mode: str, expected: dict[str, float]) -> None:
    found = shares(table_of((), replicas(a=(2, 9), b=(1, 1))), written(mode))
    # 3,000 draws: three standard deviations are at most 3 · sqrt(0.25 / 3000) = 0.027.
    assert found == pytest.approx(expected, abs=0.027)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [(["prefill", "decode"], 0.25), (["decode", "prefill"], 0.75)],  # prefill 1 : 3, decode 3 : 1
)
def test_of_roles_of_one_size_the_first_that_is_written_counts(roles: list[str], expected: float) -> None:
    table = table_of((), replicas(a=(1, 3), b=(3, 1)))
    found = shares(table, written("max-role", requireRoles={"values": roles}))
    assert found["a"] == pytest.approx(expected, abs=0.027)


def test_a_revision_without_one_of_the_roles_is_never_drawn() -> None:
    table = table_of((), replicas(a=(1, 1), b=(0, 50)))
    assert shares(table, written(), 50) == {"a": 1.0}
    # Nor does it say which role is the largest: of a and c that is prefill, 4 against 3.
    table = table_of((), replicas(a=(1, 2), b=(0, 50), c=(3, 1)))
    assert shares(table, written("max-role"))["a"] == pytest.approx(0.25, abs=0.027)


def test_without_a_whole_revision_nobody_stays() -> None:
    table = table_of((), [*replicas(a=(0, 3), b=(2, 0)), {"app": "vllm"}])
    assert kept(built(table, written()), table) == []
    empty = table_of([])
    assert kept(built(empty, written()), empty) == []


def test_endpoints_outside_the_scope_do_not_count() -> None:
    others = [{**labels, "app": "other"} for labels in replicas(b=(50, 50))]
    table = table_of((), [*replicas(a=(1, 1)), *others])
    assert shares(table, written(), 50) == {"a": 1.0}


def test_a_revision_of_which_no_candidate_is_left_is_not_drawn() -> None:
    table = table_of((), replicas(a=(5, 5), b=(1, 1)))
    screener = built(table, written())
    for _ in range(30):
        # Rows 10 and 11 hold revision b.
        assert kept(screener, table, [9, 11])
        assert {each[REVISION] for each in kept(screener, table, [11])} == {"b"}


def test_the_labels_are_parameters() -> None:
    labels = [{"app": "vllm", "rev": "a", "part": part} for part in ("prefill", "decode")]
    table = table_of((), labels)
    keys = {"revisionLabelKey": "rev", "roleLabelKey": "part"}
    assert kept(built(table, written("sum", **keys)), table) == labels


# === headers ===


def test_a_strict_header_names_the_revision() -> None:
    table = table_of((), replicas(a=(2, 9), b=(1, 1), half=(0, 3)))
    screener = built(table, written("sum", STRICT))
    for _ in range(20):
        assert {each[REVISION] for each in kept(screener, table, x_revision="b")} == {"b"}
    assert kept(screener, table, x_revision="gone") == []
    assert kept(screener, table, x_revision="half") == []
    assert kept(screener, table, x_revision="") != []


def test_another_strict_header_leaves_the_revision_to_chance() -> None:
    by_slice = {"name": "s", "headerName": "x-slice", "labelKey": SLICE, "mode": "strict"}
    labels = [
        replica(revision, role, **{SLICE: number})
        for revision in "ab"
        for role in ("prefill", "decode")
        for number in "12"
    ]
    table = table_of((), labels)
    screener = built(table, written("sum", by_slice))
    seen = set()
    for _ in range(40):
        stays = kept(screener, table, x_slice="2")
        assert {each[SLICE] for each in stays} == {"2"}
        seen.add(frozenset(each[REVISION] for each in stays))
    assert seen == {frozenset("a"), frozenset("b")}


def test_a_preferred_header_rules_nobody_out() -> None:
    table = table_of((), replicas(a=(1, 1)))
    assert len(kept(built(table, written("sum", PREFER)), table, x_slice="7")) == 2


def test_without_gating_only_strict_headers_rule_out() -> None:
    table = table_of((), [*replicas(a=(0, 1), b=(1, 0)), {}])
    screener = built(table, written("disabled", STRICT))
    assert len(kept(screener, table)) == 3
    assert [each[REVISION] for each in kept(screener, table, x_revision="a")] == ["a"]
    assert kept(screener, table, x_revision="c") == []


def test_a_change_of_the_pool_is_seen() -> None:
    table = table_of((), replicas(a=(1, 0)))
    screener = built(table, written())
    assert kept(screener, table) == []
    labels = replicas(a=(1, 1), b=(10, 10))
    table.replace(endpoint(index, each) for index, each in enumerate(labels))
    assert kept(screener, table) != []


def test_what_is_drawn_and_what_matches_nobody_is_told_in_metrics() -> None:
    table = table_of((), replicas(a=(2, 9), b=(1, 1), half=(0, 3)))
    screener = built(table, written("max-role", STRICT))

    def told(name: str) -> dict[str, float]:
        """The last label of each series → its value."""
        families = screener.wiring.metrics.registry.collect()
        samples = [sample for family in families for sample in family.samples]
        wanted = f"llm_d_epp_disaggregatedset_{name}"
        return {list(each.labels.values())[-1]: each.value for each in samples if each.name == wanted}

    kept(screener, table, x_revision="a")
    assert told("revision_gating_share") == pytest.approx({"a": 0.9, "b": 0.1})
    assert told("strict_header_no_match_total") == {}
    kept(screener, table, x_revision="gone")
    assert told("strict_header_no_match_total") == {"revision": 1.0}
    table.replace(endpoint(index, each) for index, each in enumerate(replicas(b=(1, 1))))
    kept(screener, table)
    assert told("revision_gating_share") == {"b": 1.0}


# === what the client is told ===


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (None, {"x-revision": "a", "x-slice": "1"}),
        ("10.0.0.1:8000", {"x-revision": "b"}),
        ("10.9.9.9:8000", {"x-revision": "a", "x-slice": "1"}),
    ],
)
def test_the_labels_of_who_served_are_told(served: str | None, expected: dict[str, str]) -> None:
    table = table_of((), [replica("a", "decode", **{SLICE: "1"}), replica("b", "decode")])
    request = asking(table)
    request.served = served
    result = ProfileResult("default", (0, 1), (table[0], table[1]), table.live, table.waiting[:2])
    screener = built(table, written("disabled", STRICT, PREFER))
    assert screener.respond(request, Decision(result, {})) == expected


# === parameters ===


def changed(**parts: Any) -> dict[str, Any]:
    return {**written(), **parts}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "scope"),
        ({"scope": {"labelSelector": "a=b"}}, "revisionGating"),
        (changed(scope={}), "labelSelector"),
        (changed(scope={"labelSelector": " "}), "scope.labelSelector is empty; write one such as app=vllm"),
        (
            changed(scope={"labelSelector": "a b"}),
            "scope.labelSelector: 'a b' is no requirement; write key=value",
        ),
        (changed(revisionGating={"mode": "most"}), "mode"),
        (
            changed(revisionGating={"mode": "sum"}),
            "mode sum needs requireRoles.values such as [prefill, decode]",
        ),
        (
            changed(revisionGating={"mode": "max-role", "requireRoles": {"values": [""]}}),
            "mode max-role needs requireRoles.values",
        ),
        (
            changed(revisionGating={"mode": "disabled", "revisionLabelKey": ""}),
            "revisionLabelKey and roleLabelKey must not be empty",
        ),
        (changed(revisionGating={"mode": "sum", "requiredRoles": []}), 'did you mean "requireRoles"?'),
        (
            changed(headerSelectors=[{**STRICT, "headerName": ""}]),
            "name, headerName and labelKey must not be empty",
        ),
        (changed(headerSelectors=[{**STRICT, "mode": "soft"}]), "mode"),
        (
            changed(headerSelectors=[STRICT, {**PREFER, "headerName": "x-REVISION"}]),
            "is there twice; rename one",
        ),
        (changed(headerSelectors=[STRICT, {**PREFER, "name": "revision"}]), "is there twice; rename one"),
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(table_of([]), parameters)
    assert message in str(caught.value)


def test_it_is_experimental() -> None:
    assert Rollout.stability == "alpha"
