"""The table of plugins: every name, what is said of names that do not work, and plugins of other packages."""

from importlib.metadata import EntryPoint

import pytest

from endpoint_picker import catalog
from endpoint_picker.catalog import Catalog
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.plugin import (
    Parameters,
    Plugin,
)
from endpoint_picker.scheduling.filters.labels import LabelSelector

NO_CLASS = "text"


class Extra(Plugin):
    """`extra-plugin`."""

    type = "extra-plugin"


class Experimental(Plugin):
    """`experimental-plugin`."""

    type = "experimental-plugin"
    stability = "alpha"


class NoPlugin:
    type = "extra-plugin"


def entry(name: str, symbol: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{symbol}", catalog.GROUP)


def refusal(plugin_type: str, found: Catalog | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        (found or Catalog(catalog.TABLE)).find(plugin_type, 'epp.yaml: plugin "x"')
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(catalog.TABLE))
def test_every_entry_is_complete(name: str) -> None:
    kind = catalog.TABLE[name]
    assert kind.type == name
    assert f"`{name}`" in (kind.__doc__ or "")
    assert kind.schema is None or issubclass(kind.schema, Parameters)
    assert kind.stability in ("alpha", "beta", "stable")


@pytest.mark.parametrize(
    ("suffix", "method"),
    [
        ("-filter", "keep"),
        ("-scorer", "score"),
        ("-picker", "pick"),
        ("-producer", "produce"),
        ("-profile-handler", "choose"),
        ("-decider", "decide"),
        ("-parser", "parse"),
        ("-data-source", "url"),
        ("-discovery", "load"),
    ],
)
def test_types_do_what_their_names_say(suffix: str, method: str) -> None:
    named = {name for name in catalog.TABLE if name.endswith(suffix)}
    doing = {name for name, kind in catalog.TABLE.items() if hasattr(kind, method)}
    assert named
    assert named - {"p2p-source-producer"} == doing - {
        "by-label",
        "context-length-aware",
        "utilization-detector",
        "concurrency-detector",
        "topology-extractor",
    }


def test_no_type_is_both_here_and_missing() -> None:
    assert not catalog.LATER & (catalog.TABLE.keys() | catalog.ALIASES.keys())
    assert set(catalog.ALIASES.values()) <= catalog.TABLE.keys()


def test_an_unknown_type_is_answered_with_the_nearest_one() -> None:
    assert refusal("queue-scorrer") == (
        'epp.yaml: plugin "x": plugin type \'queue-scorrer\' is not registered; did you mean "queue-scorer"?'
    )


def test_a_type_of_a_later_version_is_told_apart() -> None:
    assert "plugin type 'fcfs-ordering-policy' is not in this version" in refusal("fcfs-ordering-policy")


def test_old_names_work_and_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    table = Catalog(catalog.TABLE)
    assert table.find("by-label-selector", "w") is LabelSelector
    assert table.find("tokenizer", "w").type == "token-producer"
    assert table.find("by-label", "w").type == "by-label"
    assert table.find("prefill-header-handler", "w").type == "disagg-headers-handler"
    assert table.find("pd-profile-handler", "w").type == "pd-profile-handler"
    assert [record.getMessage() for record in caplog.records] == [
        "w: type by-label-selector is deprecated; write label-selector-filter",
        "w: type tokenizer is deprecated; write token-producer",
        "w: type by-label is deprecated; write label-selector-filter",
        "w: type prefill-header-handler is deprecated; write disagg-profile-handler",
        "w: type pd-profile-handler is deprecated; write disagg-profile-handler",
    ]


def test_an_alpha_plugin_needs_the_flag() -> None:
    found = Catalog({"experimental-plugin": Experimental})
    text = refusal("experimental-plugin", found)
    assert "experimental-plugin has Alpha stability level; allow it with --allow-experimental-plugins" in text
    assert found.find("experimental-plugin", "w", allow_experimental=True) is Experimental


def test_other_packages_add_types() -> None:
    found = catalog.installed([entry("extra-plugin", "Extra")])
    assert found.find("extra-plugin", "w") is Extra
    assert catalog.installed([]).classes == catalog.TABLE


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ([entry("queue-scorer", "Extra")], "entry point queue-scorer: there is a plugin type of that name"),
        ([entry("tokenizer", "Extra")], "there is a plugin type of that name already"),
        ([entry("extra-plugin", "Extra")] * 2, "there is a plugin type of that name already"),
        ([entry("other-name", "Extra")], "has the type extra-plugin; give both the same name"),
        ([entry("extra-plugin", "NoPlugin")], "is not a class that derives from Plugin"),
        ([entry("extra-plugin", "NO_CLASS")], "is not a class that derives from Plugin"),
        ([entry("extra-plugin", "Absent")], "cannot be imported"),
        ([EntryPoint("extra-plugin", "no.such.module:X", catalog.GROUP)], "cannot be imported"),
    ],
)
def test_a_wrong_entry_point_says_so(entries: list[EntryPoint], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog.installed(entries)
    assert part in str(caught.value)
