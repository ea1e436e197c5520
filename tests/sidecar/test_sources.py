"""Flags, the configuration file and the environment."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from endpoint_picker.core.errors import ConfigError
from endpoint_picker.sidecar import flags, sources
from endpoint_picker.sidecar.counts import Counts
from endpoint_picker.sidecar.options import Options

PAGE = (Path(__file__).parents[2] / "docs/sidecar.md").read_text(encoding="utf-8")


def options(*given: str, **environment: str) -> Options:
    return sources.read(given, environment).options


def test_the_defaults_are_those_that_deployments_know() -> None:
    defaults = options()
    assert defaults == Options()
    assert (defaults.port, defaults.model_server_port, defaults.data_parallel_size) == (8000, 8200, 1)
    assert (defaults.kv_connector, defaults.ec_connector) == ("nixlv2", "")
    assert (defaults.mooncake_bootstrap_port, defaults.p2p_connector_port) == (8998, 7777)
    assert defaults.secure_proxy
    assert (defaults.prefill_max_retries, defaults.prefill_retry_backoff) == (0, 0.2)
    assert defaults.drain_timeout == 60.0
    assert not defaults.allow_any_prefiller
    assert not defaults.allowed_prefillers


def test_help_tells_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sources.read(["--help"], {})
    told = capsys.readouterr().out
    assert flags.FLAGS.keys() == set(Options.__struct_encode_fields__)
    assert [name for name in flags.FLAGS if f"--{name}" not in told] == []
    assert [flag.env for flag in flags.FLAGS.values() if f"[{flag.env}]" not in told and flag.env] == []


def test_flags_come_before_the_file_and_the_file_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("p2p-connector-port: 2\nmooncake-bootstrap-port: '2'\nsecure-proxy: no\n")
    given = options(
        f"--configuration-file={file}",
        "--mooncake-bootstrap-port=1",
        P2P_CONNECTOR_PORT="3",
        MOONCAKE_BOOTSTRAP_PORT="3",
        SGLANG_BOOTSTRAP_PORT="3",
        POD_IP="10.0.0.1",
        ENABLE_PREFILLER_SAMPLING="true",
        MORIIO_METRICS_ADDR=":9191",
    )
    assert (given.mooncake_bootstrap_port, given.p2p_connector_port, given.sglang_bootstrap_port) == (1, 2, 3)
    assert (given.pod_ip, given.metrics_port) == ("10.0.0.1", 9191)
    assert given.enable_prefiller_sampling
    assert not given.secure_proxy


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("--secure-proxy=false", "secure_proxy", False),
        ("--enable-p2p-pull", "enable_p2p_pull", True),
        ("--enable-tls=prefiller,decoder", "enable_tls", ("prefiller", "decoder")),
        ("--prefill-timeout=1m30s", "prefill_timeout", 90.0),
        ("--max-request-body-bytes=1Ki", "max_request_body_bytes", 1024),
        ("--configuration={enable-tls: [encoder], port: '81'}", "enable_tls", ("encoder",)),
        ('--configuration={"port": "81"}', "port", 81),
        ("--configuration={prefill-retry-backoff: 1s}", "prefill_retry_backoff", 1.0),
        ("--configuration=", "port", 8000),
        ("-v=4", "v", 4),
    ],
)
def test_values_are_written_as_deployments_write_them(given: str, name: str, value: Any) -> None:
    assert getattr(options(given), name) == value


def test_lists_can_be_given_again() -> None:
    given = options("--allowed-prefillers=a,b", "--allowed-prefillers", "10.0.0.0/8")
    assert given.allowed_prefillers == ("a", "b", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("--prot=1", 'unknown argument --prot=1; did you mean "--port"'),
        ("--port=x", "port: Expected a whole number"),
        ("--port=70000", "port: Expected a whole number <= 65535"),
        ("--secure-proxy=maybe", "secure-proxy: "),
        ("--kv-connector=nixl", "kv-connector: 'nixl' is not known; did you mean \"nixlv2\""),
        ("--ec-connector=x", "ec-connector: 'x' is not known; valid: ec-example, ec-nixl"),
        ("--enable-tls=prefill", "enable-tls: 'prefill' is not known; did you mean \"prefiller\""),
        ("--prefill-timeout=soon", "prefill-timeout: "),
        ("--configuration={prot: 1}", 'unknown key "prot"; did you mean "port"'),
        ("--configuration=[1]", "is not a mapping"),
        ("--configuration={port: {}}", "port: "),
        ("--configuration={enable-tls: {}}", "enable-tls: "),
        ("--configuration-file=/nowhere/x", "cannot be read"),
        ("--moriio-write-mode", "MoRI-IO is not in this version"),
        ("--moriio-parallel-dispatch=true", "MoRI-IO is not in this version"),
        ("--moriio-dp-size=2", "MoRI-IO is not in this version"),
        ("--port=65535 --data-parallel-size=2", "port: 65535 is too high"),
        (
            "--enable-p2p-pull --kv-connector=sglang",
            "enable-p2p-pull: works with the kv-connector nixlv2 only",
        ),
        ("--allow-any-prefiller --enable-ssrf-protection", "contradicts"),
        ("--prefill-timeout=0", "prefill-timeout: write more than 0"),
        ("--configuration={} --configuration-file=x", "exclude each other"),
    ],
)
def test_what_is_wrong_is_told(given: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        options(*_split(given))
    assert told in str(raised.value)


def _split(given: str) -> list[str]:
    first, *others = given.split(" --")
    return [first, *(f"--{other}" for other in others)]


@pytest.mark.parametrize(
    ("given", "expected", "told"),
    [
        ("--vllm-port=1", {"model_server_port": 1}, "write --model-server-port"),
        ("--connector=sglang", {"kv_connector": "sglang"}, "write --kv-connector"),
        ("--prefiller-use-tls", {"enable_tls": ("prefiller",)}, "write --enable-tls=prefiller"),
        ("--decoder-use-tls=false", {}, "write --enable-tls=decoder"),
        (
            "--decoder-tls-insecure-skip-verify=true",
            {"tls_insecure_skip_verify": ("decoder",)},
            "write --tls-insecure-skip-verify=decoder",
        ),
        ("--configuration={vllm-port: 1}", {"model_server_port": 1}, "write --model-server-port"),
        ("--enable-ssrf-protection", {"enable_ssrf_protection": True}, "no effect: it is on"),
        ("--inference-pool=ns/p", {"inference_pool": "ns/p"}, "no effect: needs Kubernetes"),
        ("--tracing", {"tracing": True}, "no effect: not in this version"),
        ("--moriio-tp-size=2", {"moriio_tp_size": 2}, "no effect: MoRI-IO is not in this version"),
    ],
)
def test_what_was_and_what_is_not_yet_is_accepted_with_a_word(
    given: str, expected: dict[str, Any], told: str
) -> None:
    settings = sources.read([given], {})
    assert settings.options == msgspec.structs.replace(Options(), **expected)
    (warning,) = settings.warnings
    assert told in warning


def test_todays_name_comes_before_a_former_one() -> None:
    assert options("--vllm-port=1", "--model-server-port=2").model_server_port == 2
    both = options("--prefiller-use-tls", "--enable-tls=decoder").enable_tls
    assert sorted(both) == ["decoder", "prefiller"]


def test_the_page_for_users_says_what_is_so() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert options(f"--configuration={example}").allowed_prefillers == ("10.0.0.0/16",)
    (command,) = re.findall(r"```\nendpoint-picker sidecar (.*?)```", PAGE, re.DOTALL)
    assert options(*command.replace("\\\n", " ").split()).kv_connector == "nixlv2"
    assert [
        flag
        for flag in re.findall(r"`--([a-z0-9-]+)", PAGE)
        if flag not in (*flags.FLAGS, "configuration-file", "configuration")
    ] == []
    families = {metric.name for metric in Counts().registry.collect()}
    told = {
        name.removesuffix("_total") for name in re.findall(r"^\| `(endpoint_picker_\w+)`", PAGE, re.MULTILINE)
    }
    assert told == families
