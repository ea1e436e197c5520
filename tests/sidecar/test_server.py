"""Listeners: ranks, TLS, the page of metrics, and the end."""

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from bench.processes import free_port
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.sidecar import sources
from endpoint_picker.sidecar.server import Sidecar
from endpoint_picker.transport import tls
from tests.fakes import vllm
from tests.fakes.engine import until
from tests.fakes.replica import Pace
from tests.fakes.vllm import Vllm
from tests.sidecar.conftest import Pod, Start


async def neighbours() -> tuple[Vllm, Vllm]:
    """Two engines on ports that follow each other."""
    for _ in range(50):
        first, second = Vllm("rank 0"), Vllm("rank 1")
        await first.start()
        second.port = first.port + 1
        try:
            await second.start()
        except OSError:
            await first.stop()
            continue
        return first, second
    raise AssertionError("no two free ports follow each other")


async def test_each_rank_has_a_listener_and_a_header_chooses_one(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await neighbours()
    pod = await start(
        "--data-parallel-size=2", f"--model-server-port={first.port}", environment={"POD_IP": "10.0.0.1"}
    )
    zero, one = pod.sidecar.ports
    chosen = [
        (0, None, "rank 0"),
        (1, None, "rank 1"),
        (0, f"10.0.0.1:{one}", "rank 1"),
        (0, f"10.0.0.1:{zero}", "rank 0"),
        (1, f"10.0.0.1:{zero}", "rank 1"),  # only the first listener looks at it
    ]
    for prefiller in (None, ""):
        for listener, named, served in chosen:
            headers = {"x_data_parallel_host_port": named} if named else {}
            async with pod.post(
                {"prompt": "p"}, prefiller=prefiller, rank=listener, headers=headers
            ) as answer:
                assert (await answer.json())["id"] == served
    assert first.received[-1].values("x-data-parallel-host-port") == [f"10.0.0.1:{zero}"]
    for named in (f"10.0.0.2:{zero}", "10.0.0.1:1", "x"):
        async with pod.post({"prompt": "p"}, x_data_parallel_host_port=named) as answer:
            assert (answer.status, await answer.read()) == (400, b"")
    assert "x-data-parallel-host-port is deprecated" in caplog.text
    await first.stop()
    await second.stop()


async def test_ranks_listen_on_ports_that_follow_each_other(start: Start) -> None:
    for _ in range(50):
        port = free_port()
        try:
            pod = await start(f"--port={port}", "--data-parallel-size=2")
        except OSError:
            continue
        assert pod.sidecar.ports == [port, port + 1]
        return


async def test_encoders_work_on_every_rank(start: Start) -> None:
    first, second = await neighbours()
    pod = await start(
        "--data-parallel-size=2", f"--model-server-port={first.port}", "--ec-connector=ec-example"
    )
    item = {"type": "image_url", "image_url": {"url": "a"}}
    body = {"messages": [{"role": "user", "content": [item]}]}
    async with Vllm() as encoder:
        named = {"x_encoder_hosts_ports": encoder.address}
        async with pod.post(body, "/v1/chat/completions", prefiller=None, rank=1, headers=named) as answer:
            assert (await answer.json())["id"] == "rank 1"
        assert len(encoder.received) == 1
    await first.stop()
    await second.stop()


async def test_tls_is_served_unless_it_is_switched_off(start: Start) -> None:
    pod = await start("--secure-proxy")
    url = pod.url("/v1/completions").replace("http:", "https:")
    async with pod.client.post(url, json={"prompt": "p"}, ssl=False) as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.ClientError):
        await pod.client.post(pod.url("/health"))


def identity(folder: Path) -> tls.Identity:
    made = tls.self_signed()
    (folder / tls.CERTIFICATE).write_bytes(made.certificate)
    (folder / tls.KEY).write_bytes(made.key)
    return made


async def shown(port: int) -> bytes:
    context = ssl._create_unverified_context()
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


async def test_a_certificate_that_changes_is_taken(start: Start, tmp_path: Path) -> None:
    before = identity(tmp_path)
    pod = await start("--secure-proxy", f"--cert-path={tmp_path}")
    port = pod.sidecar.ports[0]
    assert await shown(port) == before.certificate
    after = identity(tmp_path)
    assert await shown(port) == after.certificate
    shutil.rmtree(tmp_path)
    assert await shown(port) == after.certificate


def test_a_certificate_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls\.crt"):
        Sidecar(sources.read([f"--cert-path={tmp_path}"], {}).options)


async def test_engines_are_spoken_to_over_tls_where_that_is_asked_for(start: Start, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity(tmp_path)
    context.load_cert_chain(tmp_path / tls.CERTIFICATE, tmp_path / tls.KEY)
    prefill = Vllm()
    await prefill.start(ssl_context=context)
    for flags, handed in (
        (("--enable-tls=prefiller", "--tls-insecure-skip-verify=prefiller"), True),
        (("--enable-tls=prefiller",), False),
        ((), False),
    ):
        pod = await start(*flags)
        async with pod.post({"prompt": "p"}, prefiller=prefill.address) as answer:
            assert answer.status == 200
        assert ("kv_transfer_params" in pod.decode.bodies[0]) == handed
    await prefill.stop()


async def test_the_page_of_metrics_has_a_port_of_its_own(start: Start) -> None:
    pod = await start(f"--metrics-port={free_port()}")
    async with pod.post({"prompt": "p"}) as answer:
        assert answer.status == 200
    async with pod.client.get(f"http://127.0.0.1:{pod.sidecar.metrics_port}/metrics") as answer:
        text = await answer.text()
    assert 'endpoint_picker_sidecar_prefills_total{connector="nixlv2",outcome="done",reason=""} 1.0' in text
    async with pod.client.get(pod.url("/metrics")) as answer:
        assert answer.status == 200
    assert pod.decode.received[-1].path == "/metrics"


async def test_nobody_allowed_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    sidecar = Sidecar(sources.read(["--port=0"], {}).options)
    await sidecar.start()
    await sidecar.stop()
    assert "no prefill replica is allowed" in caplog.text


async def test_open_requests_end_before_the_sidecar_does(pod: Pod) -> None:
    pod.decode.pace = Pace()
    async with pod.post({"prompt": "p", "stream": True}) as answer:
        pod.decode.pace.allow(1)
        await answer.content.readline()
        assert pod.sidecar.open() == 1
        ending = asyncio.create_task(pod.sidecar.stop())
        await until(lambda: not pod.sidecar._listeners[0].sites)
        assert refuses(pod.sidecar.ports[0])
        pod.decode.pace.allow(9)
        assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
    await ending


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_requests_that_do_not_end_are_ended(start: Start) -> None:
    pod = await start("--drain-timeout=50ms")
    pod.decode.reply = vllm.hang
    task = asyncio.create_task(pod.post({"prompt": "p"})._coro)
    await pod.decode.arrived.wait()
    await pod.sidecar.stop()
    with pytest.raises(aiohttp.ClientError):
        await task
    await until(lambda: pod.decode.left == 1)
