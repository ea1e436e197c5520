import argparse
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint_picker import cli
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.options import Options


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A start sets up logging for the whole process."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def options(*flags: str) -> Options:
    return cli.options(cli.parser().parse_args(flags))


def test_the_defaults_are_those_that_deployments_know() -> None:
    defaults = options()
    assert (defaults.grpc_port, defaults.health_port, defaults.metrics_port) == (9002, 9003, 9090)
    assert defaults.secure
    assert defaults.drain == 30.0
    assert defaults.staleness == 2.0
    assert defaults.max_request_body == 64 << 20
    assert defaults == Options()


@pytest.mark.parametrize(
    ("flag", "secure"),
    [
        ("--secure-serving", True),
        ("--secure-serving=true", True),
        ("--secure-serving=false", False),
        ("--secure-serving=0", False),
    ],
)
def test_switches_are_written_as_deployments_write_them(flag: str, secure: bool) -> None:
    assert options(flag).secure is secure


def test_times_and_sizes_have_units() -> None:
    given = options(
        "--drain-timeout=1m30s", "--grpc-max-recv-msg-size", "16MiB", "--max-request-body-bytes=1k"
    )
    assert (given.drain, given.max_receive, given.max_request_body) == (90.0, 16 << 20, 1000)


def test_an_interval_that_is_too_short_is_raised() -> None:
    assert options("--refresh-metrics-interval=1ms").refresh_interval == 0.05


@pytest.mark.parametrize(
    "flag",
    [
        "--grpc-port=99999",
        "--grpc-port=x",
        "--drain-timeout=soon",
        "--drain-timeout=-5s",
        "--max-request-body-bytes=-1",
        "--secure-serving=maybe",
        "--v=loud",
    ],
)
def test_a_bad_value_is_named(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(flag)
    assert ended.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_an_unknown_flag_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--endpoint=10.0.0.1:8000")
    assert "did you mean --endpoints?" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.REFUSED)
def test_what_must_not_be_ignored_ends_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name}"):
        options(f"--{name}=x")


def test_what_existing_deployments_pass_is_accepted() -> None:
    flags = [f"--{flag.name}=true" for flag in cli.WITHOUT_EFFECT if flag.type is cli.switch]
    flags += [f"--{flag.name}=x" for flag in cli.WITHOUT_EFFECT if flag.type is not cli.switch]
    assert options(*flags) == Options()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--config-file=a", "--config-text=b"), "exclude each other"),
        (("--enable-cert-reload",), "--cert-path"),
    ],
)
def test_flags_that_do_not_go_together(flags: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        options(*flags)


def test_help_tells_of_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for group in (cli.POOL, cli.SERVING, cli.BEHAVIOUR, cli.WITHOUT_EFFECT):
        for flag in group:
            assert f"--{flag.name}" in text


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--endpoints"),
        (("--endpoints=nonsense",), "host:port"),
        (("--config-file=/nowhere/at-all.yaml",), "/nowhere/at-all.yaml"),
        (("--config-text=kind: Nonsense",), "EndpointPickerConfig"),
        (("--endpoints=127.0.0.1:1", "--zap-encoder=xml"), "xml"),
        (("--endpoints=127.0.0.1:1", "--cert-path=/nowhere"), "/nowhere"),
    ],
)
def test_a_start_that_fails_says_why(
    flags: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = ("--grpc-port=0", "--grpc-health-port=0", "--metrics-port=0", "--v=0")
    assert cli.main([*flags, *quiet]) == 1
    said = capsys.readouterr().err
    assert said.startswith("endpoint-picker: ")
    assert says in said


def test_a_bad_endpoints_file_ends_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text("endpoints: [{name: a, address: 10.0.0.1, prot: 8000}]")
    config = (
        "{apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig, plugins: [{type: queue-scorer}, "
        f"{{type: file-discovery, parameters: {{path: {file}}}}}], "
        "dataLayer: {discovery: {pluginRef: file-discovery}}}"
    )
    assert cli.main([f"--config-text={config}", "--v=0"]) == 1
    said = capsys.readouterr().err
    assert "endpoints.yaml" in said
    assert "port" in said


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        cli.switch("perhaps")


def test_a_command_that_is_mistyped_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["chek"])
    assert "did you mean check?" in capsys.readouterr().err


def test_who_stops_reading_ends_a_command_quietly() -> None:
    command = f"{sys.executable} -m endpoint_picker plugins --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_help_tells_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    # Lines may be broken after any hyphen.
    text = " ".join(capsys.readouterr().out.split()).replace("endpoint- picker", "endpoint-picker")
    assert all(f"endpoint-picker {command}" in text for command in cli.COMMANDS)
