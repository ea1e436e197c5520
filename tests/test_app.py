"""The whole process, as an operator meets it: start, ports, certificates, reload, drain."""

import asyncio
import datetime
import json
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2

from bench.picker import Picker
from bench.processes import Failed
from tests.fakes.gateway import Gateway, gateway

PROMPT = json.dumps({"model": "m", "prompt": "hello"}).encode()
NOBODY = "127.0.0.1:1"
"""An endpoint that refuses connections: picked all the same, as the only one."""
PLAIN = "--secure-serving=false"
ANSWER_SECONDS = 10.0


@pytest.fixture
async def picker(tmp_path: Path) -> AsyncIterator[Picker]:
    picker = Picker(tmp_path, [NOBODY], PLAIN, "--drain-timeout=1s")
    yield picker
    picker.kill()


def address(picker: Picker) -> str:
    return f"127.0.0.1:{picker.grpc_port}"


async def exit_code(picker: Picker) -> int:
    assert picker.process is not None
    return await picker.process.wait()


def stop(picker: Picker, number: signal.Signals = signal.SIGTERM) -> None:
    assert picker.process is not None
    picker.process.signal(number)


async def health(port: int, service: str) -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=ANSWER_SECONDS)
    return int(answer.status)


async def until_not_ready(picker: Picker) -> None:
    async with asyncio.timeout(ANSWER_SECONDS):
        while await health(picker.health_port, "readiness") == health_pb2.HealthCheckResponse.SERVING:
            await asyncio.sleep(0.02)


async def test_it_serves_and_counts(picker: Picker) -> None:
    await picker.start()
    async with gateway(address(picker)) as client, client.talk() as talk:
        assert await talk.route(PROMPT) == NOBODY
        assert await picker.sum_of("llm_d_epp_inflight_requests") == 1
        await talk.response_headers(((":status", "200"),), end=True)
        await talk.reply()
    assert await picker.sum_of("llm_d_epp_inflight_requests") == 0
    assert await picker.sum_of("llm_d_epp_request_total", model_name="m") == 1
    assert await picker.sum_of("inference_objective_request_total", model_name="m") == 1


async def test_the_drain_lets_open_streams_end(picker: Picker) -> None:
    await picker.start()
    async with gateway(address(picker)) as client, client.talk() as old, client.talk() as new:
        await old.route(PROMPT)
        stop(picker)
        await until_not_ready(picker)
        assert await health(picker.health_port, "liveness") == health_pb2.HealthCheckResponse.SERVING
        assert await new.route(PROMPT) == NOBODY  # still served while the gateway takes notice
        await asyncio.sleep(1.2)  # past the drain time: the open streams still count
        for talk in (old, new):
            await talk.response_headers(((":status", "200"),), end=True)
            assert await talk.reply() is not None
            await talk.call.done_writing()
            assert await talk.reply() is None
        assert await exit_code(picker) == 0


async def test_a_second_signal_ends_it_at_once(picker: Picker) -> None:
    await picker.start()
    async with gateway(address(picker)) as client, client.talk() as talk:
        await talk.route(PROMPT)
        stop(picker)
        await until_not_ready(picker)
        stop(picker)
        assert await exit_code(picker) == 0


async def test_ctrl_c_does_not_wait_for_the_drain(tmp_path: Path) -> None:
    picker = Picker(tmp_path, [NOBODY], PLAIN, "--drain-timeout=1h")
    try:
        await picker.start()
        stop(picker, signal.SIGINT)
        assert await exit_code(picker) == 0
    finally:
        picker.kill()


@pytest.mark.parametrize("name", ["grpc_port", "health_port", "metrics_port"])
async def test_a_port_that_is_taken_is_named(picker: Picker, name: str) -> None:
    port = getattr(picker, name)
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        with pytest.raises(Failed, match=str(port)):
            await picker.start()
    assert await exit_code(picker) == 1
    assert "Traceback" not in picker.output()


async def test_health_can_share_the_port(tmp_path: Path) -> None:
    picker = Picker(tmp_path, [NOBODY], PLAIN, "--health-checking")
    try:
        await picker.start()
        serving = health_pb2.HealthCheckResponse.SERVING
        assert await health(picker.grpc_port, "envoy.service.ext_proc.v3.ExternalProcessor") == serving
    finally:
        picker.kill()


# === certificates ===


async def test_it_serves_tls_by_default(tmp_path: Path) -> None:
    picker = Picker(tmp_path, [NOBODY])
    try:
        await picker.start()
        assert await asyncio.to_thread(negotiated, picker.grpc_port) == "h2"
    finally:
        picker.kill()


def negotiated(port: int) -> str | None:
    """The protocol that a client agrees on that verifies nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secure:
        return secure.selected_alpn_protocol()


def certify(folder: Path) -> bytes:
    """Write a certificate for localhost and its key; answers the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(*pem))
    (folder / "tls.crt").write_bytes(certificate)
    return certificate


async def routes_over_tls(port: int, certificate: bytes) -> bool:
    credentials = grpc.ssl_channel_credentials(certificate)
    address = f"localhost:{port}"
    async with grpc.aio.secure_channel(address, credentials) as channel, Gateway(channel).talk() as talk:
        try:
            return await talk.route(PROMPT) == NOBODY
        except grpc.aio.AioRpcError:
            return False


async def test_the_operators_certificate_is_served_and_reloaded(tmp_path: Path) -> None:
    old = certify(tmp_path)
    flags = (f"--cert-path={tmp_path}", "--enable-cert-reload")
    picker = Picker(tmp_path, [NOBODY], *flags)
    try:
        await picker.start()
        assert await routes_over_tls(picker.grpc_port, old)
        new = certify(tmp_path)
        assert await routes_over_tls(picker.grpc_port, new)
        assert not await routes_over_tls(picker.grpc_port, old)
        (tmp_path / "tls.key").write_text("junk")
        assert await routes_over_tls(picker.grpc_port, new)
    finally:
        picker.kill()


# === endpoints from a file ===


async def test_the_endpoints_file_is_reloaded_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text("endpoints: [{name: a, address: 127.0.0.1, port: 1}]")
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorer\n"
        f"- type: file-discovery\n  parameters: {{path: {file}, watchFile: true}}\n"
        "dataLayer: {discovery: {pluginRef: file-discovery}}\n"
    )
    picker = Picker(tmp_path, [], PLAIN, f"--config-file={config}")
    try:
        await picker.start()
        async with gateway(address(picker)) as client:
            assert await place(client) == "127.0.0.1:1"
            file.write_text("endpoints: [{name: b, address: '::1', port: 2}]")
            await until(client, "[::1]:2")
            file.write_text("endpoints: [{name: c, address: nonsense, port: 3}]")
            await complaint(picker, "nonsense")
            assert await place(client) == "[::1]:2"
            file.write_text("endpoints: []")
            await until(client, "503")
    finally:
        picker.kill()


async def complaint(picker: Picker, about: str) -> None:
    async with asyncio.timeout(ANSWER_SECONDS):
        while about not in picker.output():
            await asyncio.sleep(0.05)


async def place(client: Gateway) -> str:
    """Where a request goes, or the status that it is refused with."""
    async with client.talk() as talk:
        await talk.request_headers(end=True)
        reply = await talk.reply()
        if reply.HasField("immediate_response"):
            return str(reply.immediate_response.status.code)
        return str(reply.dynamic_metadata.fields["envoy.lb"].struct_value.fields[DESTINATION].string_value)


DESTINATION = "x-gateway-destination-endpoint"


async def until(client: Gateway, wanted: str) -> None:
    async with asyncio.timeout(ANSWER_SECONDS):
        while await place(client) != wanted:
            await asyncio.sleep(0.05)
