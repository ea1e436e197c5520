"""RFC 9113, 3.2, 3.3 and 9.2: over TLS."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from endpoint_picker.transport import tls
from endpoint_picker.transport.http2 import Server
from endpoint_picker.transport.limits import Limits
from tests.fakes.http2_client import DATA, END_STREAM, Client, frame, message
from tests.fakes.talking import Talk


def trusting(*protocols: str, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if most is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = most
    return context


def write(folder: Path, identity: tls.Identity) -> None:
    (folder / tls.CERTIFICATE).write_bytes(identity.certificate)
    (folder / tls.KEY).write_bytes(identity.key)


@pytest.fixture
async def secure(talk: Talk, tmp_path: Path) -> AsyncIterator[int]:
    """The port of a server whose certificate lies in `tmp_path`."""
    write(tmp_path, tls.self_signed())
    renewed = tls.reloader(tmp_path, lambda error: None)
    server = Server(talk.services(), Limits())
    port = await server.start(0, tls.Certificates(tls.load(tmp_path), renewed))
    yield port
    await server.stop(0.5)


def proof(client: Client) -> int:
    """The serial number of the server's certificate."""
    der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize("offered", [("h2",), ("http/1.1", "h2"), ("h2c", "h2")])
async def test_3_2_h2_is_agreed_on(secure: int, offered: tuple[str, ...]) -> None:
    client = await Client.connect(secure, trusting(*offered))
    assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    await client.greet()
    await client.works()
    await client.close()


@pytest.mark.parametrize("offered", [("h2c",), ("http/1.1",), ()])
async def test_3_3_without_h2_nothing_is_served(secure: int, talk: Talk, offered: tuple[str, ...]) -> None:
    client = await Client.connect(secure, trusting(*offered))
    assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
    await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(3) + b"\x04" + bytes(5), client.call(1))
    await client.over()
    assert talk.opened == 0
    await client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_9_2_tls_1_2_and_newer(secure: int, version: ssl.TLSVersion) -> None:
    client = await Client.connect(secure, trusting("h2", most=version))
    await client.greet()
    await client.works()
    await client.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_9_2_nothing_older(secure: int) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Client.connect(secure, trusting("h2", most=ssl.TLSVersion.TLSv1_1))


def test_9_2_1_neither_compression_nor_renegotiation() -> None:
    options = tls.server_context(tls.self_signed()).options
    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_RENEGOTIATION


def test_9_2_2_the_required_cipher_suite_is_there() -> None:
    names = [cipher["name"] for cipher in tls.server_context(tls.self_signed()).get_ciphers()]
    assert "ECDHE-RSA-AES128-GCM-SHA256" in names


def test_9_2_3_no_certificate_is_asked_for_after_the_handshake() -> None:
    context = tls.server_context(tls.self_signed())
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.post_handshake_auth


async def test_a_new_certificate_serves_new_connections_and_old_ones_go_on(
    secure: int, tmp_path: Path
) -> None:
    old = await (await Client.connect(secure, trusting("h2"))).greet()
    await old.send(old.headers(1))
    first = proof(old)
    write(tmp_path, tls.self_signed())
    new = await (await Client.connect(secure, trusting("h2"))).greet()
    assert proof(new) != first
    await new.works()
    await old.send(frame(DATA, 1, message(b"hello"), END_STREAM))
    assert (await old.response(1)).messages == [b"hello"]
    await old.works()
    await old.close()
    await new.close()


async def test_a_bad_certificate_keeps_the_old_one(secure: int, tmp_path: Path) -> None:
    client = await Client.connect(secure, trusting("h2"))
    first = proof(client)
    (tmp_path / tls.KEY).write_bytes(b"junk")
    other = await (await Client.connect(secure, trusting("h2"))).greet()
    assert proof(other) == first
    await other.works()
    await client.close()
    await other.close()


async def test_3_3_a_plain_client_on_the_tls_port_gets_nowhere(secure: int, talk: Talk) -> None:
    client = await Client.connect(secure)
    await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    await client.reader.read()
    assert talk.opened == 0
    await client.close()
