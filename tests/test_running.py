"""A configuration takes another's place, or does not: what stays, what goes, what is told."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from endpoint_picker.core.errors import ConfigError
from endpoint_picker.director import Arrival
from endpoint_picker.exchange import Exchange
from endpoint_picker.options import Options
from endpoint_picker.running import Running
from endpoint_picker.scheduling.profile import WeightedProfile

PREFIX: Mapping[str, Any] = {"type": "prefix-cache-scorer"}
QUEUE: Mapping[str, Any] = {"type": "queue-scorer"}
MEMBERS = "10.0.0.1:8000,10.0.0.2:8000"
BODY = json.dumps({"model": "m", "prompt": "the same long prompt " * 100}).encode()


def written(path: Path, *plugins: Mapping[str, Any], **more: Any) -> Path:
    head = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}
    path.write_text(json.dumps({**head, "plugins": plugins, **more}))
    return path


def running(path: Path, **options: Any) -> Running:
    return Running(Options(config_file=path, **{"endpoints": MEMBERS, **options}), lambda: 1000.0)


def members(picker: Running) -> Running:
    """With its pool, which a running picker learns when it starts."""
    picker._fill(picker._assembly)
    return picker


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "config.yaml", PREFIX, {"type": "max-score-picker"})


def route(picker: Running) -> Exchange:
    return picker.director.route(Arrival({":path": "/v1/completions"}, 1000.0), BODY)


def reloads(picker: Running, result: str) -> float | None:
    labels = {"result": result}
    return picker.metrics.registry.get_sample_value("llm_d_epp_config_reloads_total", labels)


def test_a_good_file_takes_the_place_of_the_old_one(file: Path) -> None:
    picker = members(running(file))
    most = {"type": "max-score-picker", "parameters": {"maxNumOfEndpoints": 2}}
    written(file, QUEUE, most)
    assert picker.reload()
    decision = route(picker).decision
    assert decision is not None
    assert decision.destination.count(",") == 1
    assert reloads(picker, "success") == 1


HEAD = '{"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig", '


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", None),
        ("{", "not valid YAML or JSON"),
        ("kind: EndpointPickerConfig", "apiVersion"),
        (HEAD + '"plugin": []}', "plugins"),
        (HEAD + '"plugins": [{"type": "queue-scorr"}]}', "queue-scorer"),
    ],
)
def test_a_bad_file_changes_nothing(
    file: Path, text: str, complaint: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    picker = members(running(file))
    file.write_text(text)
    good = complaint is None  # an empty file is a configuration, too
    assert picker.reload() == good
    assert route(picker).decision is not None
    assert reloads(picker, "failure") == (None if good else 1)
    assert complaint is None or complaint in caplog.text


@pytest.mark.parametrize(
    ("text", "scorers"),
    [
        (None, ["prefill-work-scorer"]),
        ("", ["queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer"]),
    ],
)
def test_without_a_file_ours_runs_and_with_an_empty_one_what_it_means_to_the_reference(
    tmp_path: Path, text: str | None, scorers: list[str]
) -> None:
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    picker = Running(Options(config_file=None if text is None else file, endpoints=MEMBERS), lambda: 1000.0)
    profile = picker._assembly.scheduler.profiles["default"]
    assert isinstance(profile, WeightedProfile)
    assert [each.type for each in profile.scorers] == scorers


def test_a_file_that_is_gone_changes_nothing(file: Path) -> None:
    picker = members(running(file))
    file.unlink()
    assert not picker.reload()
    assert route(picker).decision is not None


def test_requests_in_flight_stay_in_the_books_and_leave_them(file: Path) -> None:
    picker = members(running(file))
    before = route(picker)
    assert picker.reload()
    assert picker._ledger.open == 1
    route(picker).end(complete=True)
    before.end(complete=True)
    assert picker._ledger.open == 0


def cached(exchange: Exchange) -> float:
    """Total of the endpoint that was picked: with the prefix scorer alone, the share that it holds."""
    assert exchange.decision is not None
    return float(exchange.decision.primary.totals.max())


def test_what_was_learned_stays_where_the_parameters_allow(file: Path) -> None:
    picker = members(running(file))
    route(picker)
    written(file, PREFIX, {"type": "random-picker"})
    assert picker.reload()
    assert cached(route(picker)) == 1.0
    written(file, PREFIX, {"type": "approx-prefix-cache-producer", "parameters": {"blockSizeTokens": 128}})
    assert picker.reload()
    assert cached(route(picker)) == 0.0


def test_other_members_come_with_the_file(tmp_path: Path) -> None:
    lists = [tmp_path / name for name in ("one.yaml", "two.yaml")]
    for number, each in enumerate(lists):
        each.write_text(f"endpoints: [{{name: a, address: 10.1.0.{number}, port: 1}}]")

    def named(path: Path) -> Path:
        discovery = {"type": "file-discovery", "parameters": {"path": str(path)}}
        layer = {"discovery": {"pluginRef": "file-discovery"}}
        return written(tmp_path / "config.yaml", QUEUE, discovery, dataLayer=layer)

    picker = members(running(named(lists[0]), endpoints=""))
    named(tmp_path / "missing.yaml")
    assert not picker.reload()
    assert destination(route(picker)) == "10.1.0.0:1"
    named(lists[1])
    picker._tasks = NoTasks()  # type: ignore[assignment]
    assert picker.reload()
    assert destination(route(picker)) == "10.1.0.1:1"


class NoTasks:
    """Nothing is watched here."""


def destination(exchange: Exchange) -> str:
    assert exchange.decision is not None
    return exchange.decision.destination


def test_without_members_there_is_no_start(file: Path) -> None:
    with pytest.raises(ConfigError, match="nobody to serve"):
        running(file, endpoints="")


async def test_a_mounted_file_whose_link_changes_is_seen(tmp_path: Path) -> None:
    """As Kubernetes swaps a ConfigMap: the file is a link into a folder that is a link itself."""
    for name, plugin in (("v1", QUEUE), ("v2", PREFIX)):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "config.yaml", plugin)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    picker = members(running(tmp_path / "config.yaml"))
    await picker._look()
    assert reloads(picker, "success") is None
    (tmp_path / "..new").symlink_to("v2")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    await picker._look()
    await picker._look()
    assert reloads(picker, "success") == 1
    assert "prefix-cache-scorer" in picker._assembly.instances
