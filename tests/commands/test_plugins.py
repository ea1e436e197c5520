"""`endpoint-picker plugins`: the catalog in words, from the code."""

import json

import msgspec
import pytest

from endpoint_picker import cli
from endpoint_picker.catalog import TABLE, installed
from endpoint_picker.commands import plugins
from endpoint_picker.commands.described import Parameter, described
from endpoint_picker.config.units import Duration, GoDuration
from endpoint_picker.plugin import Parameters, Plugin

Capture = pytest.CaptureFixture[str]


class Inner(Parameters, frozen=True):
    depth: int
    """How deep."""
    more: tuple["Inner", ...] = ()


class Outer(Parameters, frozen=True):
    waiting: Duration = Duration(0.2)
    kept: GoDuration | None = None
    """In two notations,
    whichever."""
    inner: Inner = Inner(depth=1)
    rows: tuple[Inner, ...] = ()


class Sample(Plugin):
    """Does much
    with little (`sample-scorer`).

    And more.
    """

    type = "sample-scorer"
    schema = Outer

    def score(self) -> None:
        return

    def learn(self) -> None:
        return


def test_a_plugin_is_described_by_its_code() -> None:
    found = described(Sample)
    assert (found.kind, found.stability, found.does) == ("scorer", "beta", "Does much with little.")
    assert found.parameters[:2] == (
        Parameter("waiting", "duration", "200ms", False, ""),
        Parameter("kept", "duration or nanoseconds", None, False, "In two notations, whichever."),
    )
    names = [each.name for each in found.parameters]
    assert names[2:] == ["inner.depth", "inner.more", "rows", "rows[].depth", "rows[].more"]
    assert found.parameters[2] == Parameter("inner.depth", "whole number", 1, False, "How deep.")
    assert found.parameters[5] == Parameter("rows[].depth", "whole number", None, True, "How deep.")


def test_every_parameter_of_every_plugin_is_told() -> None:
    for name, kind in TABLE.items():
        told = {each.name.split(".")[0].removesuffix("[]") for each in described(kind).parameters}
        fields = msgspec.structs.fields(kind.schema) if kind.schema else ()
        assert told == {each.encode_name for each in fields}, name


def test_every_plugin_is_of_a_kind_and_does_something() -> None:
    for kind in TABLE.values():
        found = described(kind)
        assert found.kind != "plugin", found
        assert found.does.endswith("."), found
        assert found.does[0] != "`", found


def test_the_list_has_a_line_for_each(capsys: Capture) -> None:
    assert cli.main(["plugins"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["TYPE", "KIND", "STABILITY", "DOES"]
    assert sorted(line.split()[0] for line in lines) == sorted(installed().classes)


def test_one_is_told_in_full(capsys: Capture) -> None:
    assert cli.main(["plugins", "token-load-scorer", "by-label-selector", "queue-scorer"]) == 0
    text = capsys.readouterr().out
    assert "token-load-scorer (scorer, beta)" in text
    assert "queueThresholdTokens      whole number  4194304" in text
    assert "Old names: by-label-selector" in text
    assert "It takes no parameters." in text


def test_programs_get_json(capsys: Capture) -> None:
    assert cli.main(["plugins", "--json", "file-discovery"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["type"], told["kind"]) == ("file-discovery", "discovery")
    assert told["parameters"][0]["required"]
    assert cli.main(["plugins", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(installed().classes)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("queue-scorrer", 'did you mean "queue-scorer"?'),
        ("fcfs-ordering-policy", "is not in this version"),
        ("active-request-filter", "write utilization-filter"),
    ],
)
def test_what_is_not_there_is_answered(name: str, says: str, capsys: Capture) -> None:
    assert cli.main(["plugins", name]) == 1
    assert says in capsys.readouterr().err


def test_the_page_has_tables_that_hold_together() -> None:
    for line in plugins.markdown(TABLE).splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (4, 5)
