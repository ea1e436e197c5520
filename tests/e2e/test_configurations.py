"""The three shipped files: that Envoy takes them as they are, and that their fields do what they are for."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bench.envoys import BINARY, Config, cluster, connection_manager, ext_proc, load
from bench.processes import ROOT, free_port
from tests.fakes.replica import Pace
from tests.fakes.stack import COMPLETIONS, Building

NAMES: Final = ("standalone", "fallback", "lean")
README: Final = ROOT / "envoy" / "README.md"


def snippet(marker: str) -> Any:
    """The YAML example of the README that contains a text."""
    examples = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return yaml.safe_load(next(example for example in examples if marker in example))


@pytest.mark.parametrize("name", NAMES)
def test_envoy_takes_the_file_as_it_is(name: str) -> None:
    command = (str(BINARY), "--mode", "validate", "-l", "error", "-c", f"envoy/{name}.yaml")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_those_that_the_readme_names(name: str) -> None:
    config = load(name)
    listener, admin = config["static_resources"]["listeners"][0], config["admin"]
    (endpoint,) = cluster(config, "ext_proc")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    places = [part["address"]["socket_address"] for part in (listener, admin, endpoint["endpoint"])]
    assert [place["port_value"] for place in places] == [8081, 19000, 9002]
    assert [place["address"] for place in places] == ["0.0.0.0", "127.0.0.1", "127.0.0.1"]


def test_lean_is_standalone_without_the_response_body() -> None:
    standalone, lean = load("standalone"), load("lean")
    ext_proc(standalone)["processing_mode"]["response_body_mode"] = "NONE"
    assert lean == standalone


@pytest.mark.parametrize("name", NAMES)
async def test_a_request_passes_and_nothing_is_bounded_at_1024(
    stack: Building, tmp_path: Path, name: str
) -> None:
    async with stack(tmp_path, name, names=("a",)) as gateway:
        answer = await gateway.ask()
        assert (answer.status, answer.replica) == (200, "a")
        clusters = await gateway.envoy.admin("clusters")
        for cluster_name in ("replicas", "ext_proc"):
            for limit in ("connections", "pending_requests", "requests"):
                assert f"{cluster_name}::default_priority::max_{limit}::40000" in clusters


async def test_in_lean_mode_the_picker_sees_the_end_of_a_response_but_not_its_body(
    stack: Building, tmp_path: Path
) -> None:
    asked = {"model": "tiny", "prompt": "hi", "stream": True}
    async with stack(tmp_path, "lean", names=("a",)) as gateway:
        (replica,) = gateway.replicas
        replica.pace = Pace()
        async with gateway.client.post(gateway.url(COMPLETIONS), json=asked) as response:
            for number in range(replica.chunks):
                assert await gateway.in_flight() == 1
                replica.pace.allow(1)
                assert await response.content.readuntil(b"\n\n") == replica.event(asked, number)
            await response.content.read()
        await gateway.settles(0, gateway.in_flight)
        assert await gateway.picker.sum_of("llm_d_epp_request_duration_seconds_count") == 1
        assert await gateway.picker.sum_of("llm_d_epp_response_size_bytes_sum") == 0


async def test_tls_as_the_readme_says(stack: Building, tmp_path: Path) -> None:
    def over_tls(config: Config) -> None:
        cluster(config, "ext_proc").update(snippet("transport_socket"))

    async with stack(tmp_path, "standalone", over_tls, names=("a",), secure=True) as gateway:
        assert (await gateway.ask()).status == 200
        assert await gateway.envoy.counter("cluster.ext_proc.ssl.handshake") == 1


async def test_the_readme_names_two_endpoints_as_the_fallback_needs(stack: Building, tmp_path: Path) -> None:
    example = yaml.safe_dump(snippet("maxNumOfEndpoints"))
    async with stack(tmp_path, "fallback", config=example) as gateway:
        await gateway.ask()
        received = next(replica.received[0] for replica in gateway.replicas if replica.received)
        (named,) = received.values("x-gateway-destination-endpoint")
        assert sorted(named.split(",")) == sorted(replica.address for replica in gateway.replicas)


async def test_a_list_of_replicas_in_a_file_is_read_again(stack: Building, tmp_path: Path) -> None:
    """The two examples of the README; nobody listens where the first list says."""
    file, listed = tmp_path / "replicas.yaml", snippet("ClusterLoadAssignment")
    (endpoint,) = listed["resources"][0]["endpoints"][0]["lb_endpoints"]
    place = endpoint["endpoint"]["address"]["socket_address"]
    place["port_value"] = free_port()
    file.write_text(yaml.safe_dump(listed))

    def from_file(config: Config) -> None:
        replicas = cluster(config, "replicas")
        replicas.update(snippet("eds_cluster_config"))
        replicas["eds_cluster_config"]["eds_config"]["path_config_source"]["path"] = str(file)
        del replicas["load_assignment"]

    async with stack(tmp_path, "fallback", from_file, names=("a",)) as gateway:

        async def status() -> float:
            return (await gateway.ask()).status

        place["port_value"] = gateway.replicas[0].port
        fresh = tmp_path / "replicas.new"
        fresh.write_text(yaml.safe_dump(listed))
        assert await status() == 503
        fresh.rename(file)
        await gateway.settles(200, status)


async def test_a_body_that_is_too_large_to_hold_is_refused(stack: Building, tmp_path: Path) -> None:
    def small(config: Config) -> None:
        hosts = connection_manager(config)["route_config"]["virtual_hosts"]
        assert hosts[0]["request_body_buffer_limit"] == 64 << 20
        hosts[0]["request_body_buffer_limit"] = 2 << 20

    async with stack(tmp_path, "fallback", small, names=("a",)) as gateway:
        assert (await gateway.ask(prompt="x" * (2 << 20))).status == 413
        assert (await gateway.ask(prompt="x" * (1 << 20))).status == 200
