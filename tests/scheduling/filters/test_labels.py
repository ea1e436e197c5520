"""Label filters: who stays, and that the masks follow the labels."""

from collections.abc import Mapping
from typing import Any

import pytest

from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import Filter, Plugin
from endpoint_picker.scheduling.filters.labels import ByLabel, LabelSelector
from endpoint_picker.scheduling.filters.roles import Decode, Encode, Prefill
from tests.fakes.plugins import configured
from tests.fakes.pool import candidates_of, endpoint, request_with, table_of, wiring_of

ROLES = [
    "prefill",
    "decode",
    "encode",
    "prefill-decode",
    "both",
    "encode-prefill",
    "encode-prefill-decode",
    "other",
]


def built(kind: type[Plugin], table: EndpointTable, parameters: Any = None) -> Filter:
    """A filter from a parameter block."""
    plugin = configured(kind, table, parameters)
    assert isinstance(plugin, Filter)
    return plugin


def kept(kind: type[Plugin], labels: list[Mapping[str, str]], parameters: Any = None) -> list[bool]:
    table = table_of((), labels)
    mask = built(kind, table, parameters).keep(request_with(table), candidates_of(table))
    return [bool(stays) for stays in mask]


@pytest.mark.parametrize(
    ("kind", "roles", "without"),
    [
        (Decode, {"decode", "prefill-decode", "both", "encode-prefill-decode"}, True),
        (Prefill, {"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"}, False),
        (Encode, {"encode", "encode-prefill", "encode-prefill-decode"}, False),
    ],
)
def test_roles(kind: type[Plugin], roles: set[str], without: bool) -> None:
    labels: list[Mapping[str, str]] = [{"llm-d.ai/role": role} for role in ROLES]
    assert kept(kind, [*labels, {}]) == [role in roles for role in ROLES] + [without]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, [True, True, True]),
        ({}, [True, True, True]),
        ({"matchLabels": {"tier": "a"}}, [True, False, False]),
        ({"matchLabels": {"tier": "a", "zone": "x"}}, [False, False, False]),
        (
            {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]},
            [True, True, False],
        ),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}, [False, True, True]),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, [True, True, False]),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, [False, False, True]),
        (
            {"matchLabels": {"tier": "b"}, "matchExpressions": [{"key": "zone", "operator": "Exists"}]},
            [False, True, False],
        ),
    ],
)
def test_selectors(selector: Any, expected: list[bool]) -> None:
    assert kept(LabelSelector, [{"tier": "a"}, {"tier": "b", "zone": "x"}, {}], selector) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"label": "tier", "validValues": ["a"]}, [True, False, False]),
        ({"label": "tier", "validValues": ["a"], "allowsNoLabel": True}, [True, False, True]),
        ({"label": "tier", "allowsNoLabel": True}, [False, False, True]),
    ],
)
def test_by_label(parameters: Any, expected: list[bool]) -> None:
    assert kept(ByLabel, [{"tier": "a"}, {"tier": "b"}, {}], parameters) == expected


@pytest.mark.parametrize(
    ("kind", "parameters", "part"),
    [
        (ByLabel, {}, "label"),
        (ByLabel, {"label": "", "validValues": ["a"]}, "label is empty"),
        (ByLabel, {"label": "x"}, "validValues is empty"),
        (LabelSelector, {"matchLabel": {}}, 'did you mean "matchLabels"?'),
        (LabelSelector, {"matchExpressions": [{"key": "a", "operator": "In"}]}, "needs at least one value"),
        (
            LabelSelector,
            {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
            "takes none; remove them",
        ),
        (LabelSelector, {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}, "operator"),
        (LabelSelector, {"matchExpressions": [{"operator": "Exists"}]}, "key"),
    ],
)
def test_parameters_that_make_no_sense(kind: type[Plugin], parameters: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=r"epp\.yaml") as caught:
        built(kind, table_of((), [{}]), parameters)
    assert part in str(caught.value)


def test_only_candidates_are_answered_for() -> None:
    table = table_of((), [{"llm-d.ai/role": role} for role in ("decode", "prefill", "both", "encode")])
    mask = built(Prefill, table).keep(request_with(table), candidates_of(table, [1, 3]))
    assert mask.tolist() == [True, False]


def test_the_mask_follows_new_members_and_new_labels() -> None:
    role = "llm-d.ai/role"
    table = table_of((), [{role: "prefill"}, {role: "decode"}])
    keeping = built(Prefill, table)
    request = request_with(table)
    assert keeping.keep(request, candidates_of(table)).tolist() == [True, False]
    table.replace([endpoint(0, {role: "decode"}), endpoint(1, {role: "prefill"})])
    assert keeping.keep(request, candidates_of(table)).tolist() == [False, True]
    table.replace([endpoint(i, {role: "prefill"} if i % 2 else {}) for i in range(20)])
    assert keeping.keep(request, candidates_of(table)).tolist() == [bool(i % 2) for i in range(20)]


def test_labels_are_read_once_for_each_version() -> None:
    class Counted(Decode):
        calls = 0

        def matches(self, labels: Mapping[str, str]) -> bool:
            self.calls += 1
            return super().matches(labels)

    table = table_of((), [{}, {}])
    keeping = Counted("f", None, wiring_of(table))
    for _ in range(3):
        keeping.keep(request_with(table), candidates_of(table))
    assert keeping.calls == 2
