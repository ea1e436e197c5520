"""The example package: the page about it shows its files; it installs, keeps its own tests and serves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bench.picker import Picker
from endpoint_picker.testing import check_plugin
from tests.fakes.gateway import HEADERS, gateway

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "zone-scorer"
PAGE: Final = ROOT / "docs" / "write-a-plugin.md"
SHOWN: Final = ("src/zone_scorer/__init__.py", "tests/test_zone_scorer.py", "pyproject.toml", "epp.yaml")
BODY: Final = b'{"model": "m", "prompt": "Hello"}'
ENDPOINTS: Final = {
    "endpoints": [
        {
            "name": zone,
            "address": f"127.0.0.{last}",
            "port": 9,
            "labels": {"topology.kubernetes.io/zone": zone},
        }
        for last, zone in enumerate(("east", "west", "north"), start=1)
    ]
}
"""Nobody listens there: what counts is who is named."""

BROKEN: Final = '''
from endpoint_picker.plugin import Plugin

class Broken(Plugin):
    """`broken-scorer`."""
    type = "broken-scorer"
    def score(self, request, candidates):
        raise RuntimeError("the map of zones is gone")
'''

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on the path, with the example as pip installs it."""
    target = tmp_path_factory.mktemp("installed")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *quiet,
        "--no-deps",
        "--target",
        str(target),
        str(EXAMPLE),
    ]
    subprocess.run(command, check=True, cwd=target, timeout=100)
    return target


def test_the_page_shows_the_files_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)```$", page, re.DOTALL | re.MULTILINE)
    assert dict(blocks) == {name: (EXAMPLE / name).read_text(encoding="utf-8") for name in SHOWN}


def test_the_failure_that_the_page_shows_is_what_the_kit_says() -> None:
    source = (EXAMPLE / SHOWN[0]).read_text(encoding="utf-8").replace("labels.get(label)", "labels[label]")
    found: dict[str, Any] = {"__name__": "zone_scorer"}
    exec(compile(source, "zone_scorer", "exec"), found)
    with pytest.raises(AssertionError) as caught:
        check_plugin(found["Zone"], elsewhere=0.5)
    first, example, row, *_ = str(caught.value).splitlines()
    page = PAGE.read_text(encoding="utf-8")
    assert f"\n{first}\n{example}\n{row}\n" in page


def test_its_own_tests_pass(installed: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    ran = subprocess.run(command, env=_path(installed), cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_check_finds_its_type(installed: Path) -> None:
    command = [sys.executable, "-m", "endpoint_picker", "check", "-q", str(EXAMPLE / "epp.yaml")]
    ran = subprocess.run(command, env=_path(installed), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    without = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert without.returncode == 1
    assert "zone-scorer" in without.stderr


async def test_it_serves(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    picker = _picker(tmp_path, yaml.safe_load((EXAMPLE / "epp.yaml").read_text(encoding="utf-8")))
    try:
        await picker.start()
        async with gateway(f"127.0.0.1:{picker.grpc_port}") as opened:
            for zone, place in (("east", "127.0.0.1:9"), ("west", "127.0.0.2:9"), ("north", "127.0.0.3:9")):
                async with opened.talk() as talk:
                    assert await talk.route(BODY, fields={**HEADERS, "x-zone": zone}) == place
        assert await picker.sum_of("llm_d_epp_plugin_duration_seconds_count", plugin_name="zone-scorer") == 3
        assert await picker.sum_of("llm_d_epp_plugin_failures_total") == 0
    finally:
        picker.kill()


async def test_a_broken_one_is_named_and_the_request_served(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(installed), str(_broken(tmp_path)))))
    config = yaml.safe_load((EXAMPLE / "epp.yaml").read_text(encoding="utf-8"))
    config["plugins"].append({"type": "broken-scorer"})
    config["schedulingProfiles"][0]["plugins"].append({"pluginRef": "broken-scorer", "weight": 100})
    picker = _picker(tmp_path, config)
    try:
        await picker.start()
        async with gateway(f"127.0.0.1:{picker.grpc_port}") as opened, opened.talk() as talk:
            assert await talk.route(BODY, fields={**HEADERS, "x-zone": "west"}) == "127.0.0.2:9"
        labels = {"extension_point": "Scorer", "plugin_type": "broken-scorer", "plugin_name": "broken-scorer"}
        assert await picker.sum_of("llm_d_epp_plugin_failures_total", **labels) == 1
        assert "scorer broken-scorer (type broken-scorer) failed and gives 0 to all" in picker.output()
        assert "RuntimeError: the map of zones is gone" in picker.output()
    finally:
        picker.kill()


def _path(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed)}


def _broken(folder: Path) -> Path:
    """What an installed package leaves behind, written by hand."""
    (folder / "broken_scorer.py").write_text(BROKEN)
    about = folder / "broken_scorer-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-scorer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[endpoint_picker.plugins]\nbroken-scorer = broken_scorer:Broken\n"
    )
    return folder


def _picker(folder: Path, config: dict[str, Any]) -> Picker:
    """One that is configured so, with the endpoints of three zones."""
    (folder / "endpoints.json").write_text(json.dumps(ENDPOINTS))
    discovery = {"type": "file-discovery", "parameters": {"path": str(folder / "endpoints.json")}}
    config["plugins"].append(discovery)
    config["dataLayer"] = {"discovery": {"pluginRef": "file-discovery"}}
    (folder / "epp.json").write_text(json.dumps(config))
    return Picker(folder, (), f"--config-file={folder / 'epp.json'}", "--secure-serving=false")
